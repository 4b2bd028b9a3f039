/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in for libbpf's header of this name where the packet programs are compiled for this machine. Maps are the same
 * declarations, found by their names; helpers are functions of ../helpers.cpp. bpf_helper_defs.h is libbpf's, with
 * functions for its pointers to numbers (tests/CMakeLists.txt): a helper that helpers.cpp lacks is named when the
 * program is loaded.
 */
#ifndef FEATHERLB_HOST_BPF_HELPERS_H
#define FEATHERLB_HOST_BPF_HELPERS_H

#include <linux/types.h>

#include "bpf_helper_defs.h"

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val)* name
#define __array(name, val) typeof(val)* name[]

#define SEC(name)

/* Where other processors may come between: what they can do is done in ../races.cpp. This header is included first. */
__attribute__((overloadable)) unsigned long long host_compare_and_swap(unsigned long long* word,
    unsigned long long expected, unsigned long long wanted) __asm__("host_compare_and_swap64");
__attribute__((overloadable)) unsigned int host_compare_and_swap(
    unsigned int* word, unsigned int expected, unsigned int wanted) __asm__("host_compare_and_swap32");
unsigned long long host_exchange_xor(unsigned long long* word, unsigned long long bits);
#define __sync_val_compare_and_swap host_compare_and_swap
#define __sync_fetch_and_xor host_exchange_xor

#undef __always_inline
#define __always_inline inline
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#define __hidden __attribute__((visibility("hidden")))

#ifndef NULL
#define NULL ((void*)0)
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#define bpf_printk(...) ((void)0)

#endif
