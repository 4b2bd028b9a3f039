/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The control word of a flow's entry: its parts, and what the states mean. Layout in abi.h, rules in flow.h.
 */
#ifndef FEATHERLB_FLOW_WORD_H
#define FEATHERLB_FLOW_WORD_H

#include "atomic.h"

/* A number that the verifier shall see bounded: one that comes back from the stack has lost its bounds, and the
 * empty asm keeps the compiler from knowing better and leaving out the mask. */
FLB_INLINE __u32 bounded(__u32 number, __u32 mask)
{
    asm volatile("" : "+r"(number));
    return number & mask;
}

FLB_INLINE __u32 flow_state(__u64 ctl)
{
    return (__u32)(ctl >> FLB_CTL_STATE_SHIFT) & 0x7f;
}

FLB_INLINE __u32 flow_generation(__u64 ctl)
{
    return (__u32)(ctl >> FLB_CTL_GENERATION_SHIFT);
}

/* States of an owner in which it may be counted as an open connection. */
FLB_INLINE int flow_is_open(__u32 state)
{
    return state >= FLB_FLOW_ESTABLISHED && state <= FLB_FLOW_MEASURING;
}

/* States of an owner in which it is an open connection of its backend: see rule 8 of flow.h. */
FLB_INLINE int flow_is_load(__u32 state)
{
    return state < FLB_FLOW_STATES && (FLB_FLOW_LOAD >> state & 1);
}

FLB_INLINE __u64 flow_with_state(__u64 ctl, __u32 state, __u32 now)
{
    __u64 replaced = FLB_CTL_STATE | 0xffffffffULL;

    if (!flow_is_open(state) && state != flow_state(ctl))
        replaced |= FLB_CTL_COUNTED;
    return (ctl & ~replaced) | (__u64)state << FLB_CTL_STATE_SHIFT | now;
}

FLB_INLINE int flow_is_live(__u64 ctl)
{
    return flow_state(ctl) > FLB_FLOW_BUSY;
}

FLB_INLINE int flow_is_proven(__u32 state)
{
    return state >= FLB_FLOW_ESTABLISHED;
}

FLB_INLINE int flow_is_measured(__u32 state)
{
    return state == FLB_FLOW_AWAITING || state == FLB_FLOW_MEASURING;
}

/* TCP, proven, and neither side has closed. */
FLB_INLINE int flow_is_established(__u32 state)
{
    return state == FLB_FLOW_ESTABLISHED || flow_is_measured(state);
}

/* An entry of the backend's direction. One that is superseded is an orphan from the beginning, but holds its key
 * like any entry that is not proven. */
FLB_INLINE int flow_is_reply(__u32 state)
{
    return state < FLB_FLOW_STATES && (FLB_FLOW_REPLIES >> state & 1);
}

/* States in which a new SYN from the client begins a new connection. */
FLB_INLINE int flow_is_closing(__u32 state)
{
    return state == FLB_FLOW_FIN_CLIENT || state == FLB_FLOW_FIN_BACKEND || state >= FLB_FLOW_CLOSED_CLIENT;
}

/* Over: nobody has to keep the entry, and no RST changes it. */
FLB_INLINE int flow_is_closed(__u32 state)
{
    return state >= FLB_FLOW_CLOSED_CLIENT && state != FLB_FLOW_RESET;
}

FLB_INLINE int flow_has_expired(__u64 ctl, __u32 now, const struct flb_settings* settings)
{
    __s32 idle = (__s32)(now - (__u32)ctl);

    return idle > (__s32)settings->timeout[bounded(flow_state(ctl), FLB_FLOW_STATES - 1)];
}

#endif
