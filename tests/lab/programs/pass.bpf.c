// SPDX-License-Identifier: GPL-2.0-only
// Somebody else's XDP program: it passes everything. Occupies an interface in test_environment.py.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int someone_elses(struct xdp_md* ctx)
{
    return XDP_PASS;
}

char _license[] SEC("license") = "GPL-2.0-only";
