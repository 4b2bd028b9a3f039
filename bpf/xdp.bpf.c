/* SPDX-License-Identifier: GPL-2.0-only */
/* The pipeline on XDP, native or generic. */
#define FEATHERLB_XDP
#include "pipeline.h"

SEC("xdp")
int flb_xdp(struct xdp_md* context)
{
    int verdict;

    return express(context, &verdict) ? verdict : pipeline(context);
}

char LICENSE[] SEC("license") = "GPL";
