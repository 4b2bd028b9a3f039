/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * admit: may this client open a connection to this service? Lists of networks (`allow`, `deny`), then what one source
 * may have open (limit.h), then how fast it may open. Asked on the slow path alone, so a connection that is known
 * goes on whatever the lists say by now.
 *
 * Open connections are counted when they are proven (follow.h), so a forged SYN costs its victim nothing (of `dsr` and
 * `ipip` two forged packets do: their proof is weaker); and they are
 * limited there as well, or a client might begin any number at the same moment. The rate must be charged to the
 * first packet, which may be forged.
 */
#ifndef FEATHERLB_ADMIT_H
#define FEATHERLB_ADMIT_H

#include "count.h"
#include "kernel.h"

#include "limit.h"

/* The lists' answer to a client's address, in memory order. */
__attribute__((noinline)) int admit_network(__u32 service, __u64 high, __u64 low)
{
    struct flb_service* record = bpf_map_lookup_elem(&services, &service);
    struct flb_prefix_key key = {};
    struct flb_prefix* found;

    if (!record)
        return FLB_DROP_not_configured;
    key.bits = 32 + (record->family == FLB_IPV6 ? 128 : 32);
    key.service = service;
    address_from(&key.address, high, low);
    found = bpf_map_lookup_elem(&prefixes, &key);
    return found && !found->allow ? (int)FLB_DROP_denied : STEP_NEXT;
}

/* May the source open one more connection now? If so, that is charged to its rate. */
__attribute__((noinline)) int admit_source(__u32 service, __u64 client)
{
    struct flb_service* record = bpf_map_lookup_elem(&services, &service);
    const struct flb_settings* settings = flow_settings();
    __u64 identity = limit_identity(service, client);
    __u64 rate;

    if (!record || !settings)
        return FLB_DROP_not_configured;
    if (record->source_connections && limit_total(identity) >= record->source_connections)
        return FLB_DROP_source_connections;
    rate = atomic_load((__u64*)&record->source_rate); /* and burst, written by one store */
    if ((__u32)rate && !limit_take(identity, bpf_jiffies64(), limit_interval(settings->hz, (__u32)rate), rate >> 32))
        return FLB_DROP_source_rate;
    return STEP_NEXT;
}

/* A connection of this backend is about to be proven: counts it, if the service has a limit. `enforce`: unless that
 * is reached. */
enum admit_count { ADMIT_COUNTED = 0, ADMIT_UNCOUNTED, ADMIT_REFUSED };
__attribute__((noinline)) int admit_count(__u32 backend, __u64 client, int enforce)
{
    struct flb_backend* b = bpf_map_lookup_elem(&backends, &backend);
    struct flb_service* record;
    __u32 service;

    if (!b)
        return ADMIT_UNCOUNTED;
    service = b->service;
    record = bpf_map_lookup_elem(&services, &service);
    if (!record || !record->source_connections)
        return ADMIT_UNCOUNTED;
    switch (limit_add(limit_identity(service, client), enforce ? record->source_connections : LIMIT_ANY)) {
    case LIMIT_COUNTED:
        return ADMIT_COUNTED;
    case LIMIT_REACHED:
        return ADMIT_REFUSED;
    default:
        count_event(FLB_EVENT_source_uncounted);
        return ADMIT_UNCOUNTED;
    }
}

__attribute__((noinline)) int admit_uncount(__u32 backend, __u64 client)
{
    struct flb_backend* b = bpf_map_lookup_elem(&backends, &backend);

    return b ? limit_remove(limit_identity(b->service, client)) : 0;
}

#endif
