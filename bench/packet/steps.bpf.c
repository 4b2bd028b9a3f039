/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The express way (bpf/express.h), cut off behind each of its steps: what the next one costs is the difference. A
 * packet that would take the long way is dropped, which the benchmark notices.
 */
#define FEATHERLB_XDP

enum { STEP_headers, STEP_interface, STEP_flow, STEP_backend, STEP_counted, STEP_all };
#define EXPRESS_MORE int until;
#define EXPRESS_STEP(step)                                                                                             \
    if (x->until == STEP_##step) {                                                                                     \
        x->verdict = XDP_TX;                                                                                           \
        return 1;                                                                                                      \
    }

#include "pipeline.h"

#define UNTIL(step)                                                                                                    \
    SEC("xdp")                                                                                                         \
    int until_##step(struct xdp_md* context)                                                                           \
    {                                                                                                                  \
        struct express x = {                                                                                           \
            .context = context, .data = hook_data(context), .end = hook_end(context), .until = STEP_##step};           \
                                                                                                                       \
        return express_packet(&x) ? x.verdict : XDP_ABORTED;                                                           \
    }

UNTIL(headers)
UNTIL(interface)
UNTIL(flow)
UNTIL(backend)
UNTIL(counted)
UNTIL(all)

char LICENSE[] SEC("license") = "GPL";
