/* SPDX-License-Identifier: GPL-2.0-only */
#include "maps.h"

#include <linux/pkt_cls.h>

SEC("tc")
int flb_tc(struct __sk_buff* context)
{
    return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "GPL";
