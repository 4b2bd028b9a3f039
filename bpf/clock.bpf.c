/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tells user space the jiffies by which flows age. Run by BPF_PROG_TEST_RUN, never attached.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct flb_clock_answer {
    __u64 jiffies;
};

SEC("syscall")
int flb_clock(struct flb_clock_answer* answer)
{
    answer->jiffies = bpf_jiffies64();
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
