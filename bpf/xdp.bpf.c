/* SPDX-License-Identifier: GPL-2.0-only */
#include "maps.h"

SEC("xdp")
int flb_xdp(struct xdp_md* context)
{
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
