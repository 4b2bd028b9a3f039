/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * measure: how long backends take to answer, for services that ask for it: histograms by powers of two, and the
 * smoothed time that picks go by (response.h).
 *
 * From the client's first payload to the backend's (FLB_SERVICE_MEASURE_FIRST_BYTE): an owner that is proven waits in
 * FLB_FLOW_AWAITING for the first and in FLB_FLOW_MEASURING for the second, its reply's entry meanwhile in
 * FLB_FLOW_REPLY_MEASURED; the fast paths, which ask for ESTABLISHED and REPLY, know nothing of it. A backend that
 * speaks first is not measured. UDP: from the first datagram to the first answer.
 * From SYN to SYN-ACK (FLB_SERVICE_MEASURE_HANDSHAKE): unless the SYN was repeated, which makes it ambiguous.
 *
 * The beginning stands in the owner's `aux`, in microseconds, while that is not needed for anything else.
 */
#ifndef FEATHERLB_MEASURE_H
#define FEATHERLB_MEASURE_H

#include "kernel.h"
#include "packet.h"

#include "response.h"

#define MEASURE_REPEATED 1u         /* in `aux` of a SYN: no sample */
#define MEASURE_UNPROVEN (1u << 26) /* microseconds: longer ones of flows that do not live so long are none */

FLB_INLINE __u32 measure_clock(void)
{
    return (__u32)(bpf_ktime_get_ns() / 1000);
}

/* Whether `aux` of a flow that is made holds microseconds, rather than jiffies. */
FLB_INLINE int measure_from_beginning(__u32 service_flags, __u8 protocol)
{
    return (service_flags &
               (protocol == IPPROTO_TCP ? FLB_SERVICE_MEASURE_HANDSHAKE : FLB_SERVICE_MEASURE_FIRST_BYTE)) != 0;
}

__attribute__((noinline)) __u32 measure_begin(__u32 service_flags, __u8 protocol)
{
    return measure_from_beginning(service_flags, protocol) ? measure_clock() & ~MEASURE_REPEATED
                                                           : (__u32)bpf_jiffies64();
}

/* Of TCP: bytes behind the header. */
FLB_INLINE __u32 measure_payload(const struct packet* p)
{
    return p->length - (__u32)(p->l4 - p->l3) - p->transport;
}

/* Does the service of this backend measure the first byte? */
FLB_INLINE int measure_first_byte(__u32 backend_index)
{
    struct flb_backend* backend = bpf_map_lookup_elem(&backends, &backend_index);
    struct flb_service* service;
    __u32 service_index;

    if (!backend)
        return 0;
    service_index = backend->service;
    service = bpf_map_lookup_elem(&services, &service_index);
    return service && (service->flags & FLB_SERVICE_MEASURE_FIRST_BYTE);
}

FLB_INLINE void measure_add(struct flb_response_histogram* histogram, __u32 took)
{
    __u32 bucket = response_bucket(took);

    if (bucket >= FLB_RESPONSE_BUCKETS)
        return;
    __sync_fetch_and_add(&histogram->count[bucket], 1);
    __sync_fetch_and_add(&histogram->sum_us, took);
}

/* Where another processor comes between, its sample stands for both. */
FLB_INLINE void measure_smooth(__u64* word, __u32 took, __u64 ns)
{
    const __u64 seen = atomic_load(word);

    atomic_swap_if(word, seen, response_add(seen, took, ns));
}

/* A backend's packet has moved the owner on from `state`; `began` was in its aux. Of numbers alone, and everything is
 * asked here, so that those who call it have no branches for the verifier to follow. */
__attribute__((noinline)) int measure_answer(__u32 backend_index, __u32 state, __u32 began)
{
    const __u64 ns = bpf_ktime_get_ns();
    const __u32 took = (__u32)(ns / 1000) - began;
    struct flb_backend* backend = bpf_map_lookup_elem(&backends, &backend_index);
    struct flb_response_histogram *of_backend, *of_service;
    struct flb_backend_load* load;
    struct flb_service* service;
    __u32 service_index;

    if (!backend)
        return 0;
    service_index = backend->service;
    service = bpf_map_lookup_elem(&services, &service_index);
    load = bpf_map_lookup_elem(&backend_loads, &backend_index);
    of_backend = bpf_map_lookup_elem(&backend_responses, &backend_index);
    of_service = bpf_map_lookup_elem(&service_responses, &service_index);
    if (!service || !load || !of_backend || !of_service)
        return 0;
    if (state != FLB_FLOW_MEASURING) {
        const __u8 protocol = state == FLB_FLOW_SYN ? IPPROTO_TCP : IPPROTO_UDP;

        if (!measure_from_beginning(service->flags, protocol) || took > MEASURE_UNPROVEN)
            return 0;
        if (state == FLB_FLOW_SYN && (began & MEASURE_REPEATED))
            return 0;
    }
    measure_add(of_backend, took);
    measure_add(of_service, took);
    measure_smooth(&load->response, took, ns);
    measure_smooth(&of_service->smoothed, took, ns);
    return 0;
}

#endif
