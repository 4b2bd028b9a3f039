/* SPDX-License-Identifier: GPL-2.0-only */
/* The pipeline on TC ingress, by TCX or clsact. */
#define FEATHERLB_TC
#include "pipeline.h"

SEC("tc")
int flb_tc(struct __sk_buff* context)
{
    int verdict;

    return express(context, &verdict) ? verdict : pipeline(context);
}

char LICENSE[] SEC("license") = "GPL";
