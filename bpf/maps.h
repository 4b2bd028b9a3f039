/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All maps, shared by both programs: the daemon makes them once and gives them to each program. Everything but
 * `listeners`, `sources`, `fragments`, `prefixes` and `pins` is an array whose look-up the kernel inlines; everything
 * that the daemon changes under traffic is mapped into its memory.
 */
#ifndef FEATHERLB_MAPS_H
#define FEATHERLB_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "featherlb/abi.h"
#include "featherlb/bounds.h"
#include "featherlb/layout.h"
#include "featherlb/samples.h"

#define FLB_ARRAY(map, value_type, entries)                                                                            \
    struct {                                                                                                           \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                                              \
        __uint(max_entries, entries);                                                                                  \
        __uint(map_flags, BPF_F_MMAPABLE);                                                                             \
        __type(key, __u32);                                                                                            \
        __type(value, value_type);                                                                                     \
    } map SEC(".maps")

#define FLB_SIZED_BY_DAEMON 1
#define FLB_SLOW_BYTES 384 /* struct slow, in decide_store.h */
#define FLB_PICK_BYTES 128 /* struct pick_search, in pick_load.h */

FLB_ARRAY(settings, struct flb_settings, 1);

FLB_ARRAY(prefilter, struct flb_prefilter, 1);

FLB_ARRAY(ifaces, struct flb_iface, FLB_IFACE_SLOTS);

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, FLB_MAX_LISTENERS);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flb_listener_key);
    __type(value, struct flb_listener);
} listeners SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, FLB_MAX_SOURCES);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flb_listener_key);
    __type(value, struct flb_source);
} sources SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 262144);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flb_prefix_key);
    __type(value, struct flb_prefix);
} prefixes SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, FLB_SIZED_BY_DAEMON);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct flb_pin_key);
    __type(value, __u64);
} pins SEC(".maps");

FLB_ARRAY(services, struct flb_service, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(slots, struct flb_slot_chunk, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(backends, struct flb_backend, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(snat_addresses, struct flb_snat_address, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(service_turns, __u64, FLB_SIZED_BY_DAEMON); /* as `services` */

FLB_ARRAY(backend_ports, __u64, FLB_SIZED_BY_DAEMON); /* as `backends` */

FLB_ARRAY(backend_marks, struct flb_backend_mark, FLB_SIZED_BY_DAEMON); /* as `backends` */

FLB_ARRAY(backend_loads, struct flb_backend_load, FLB_SIZED_BY_DAEMON); /* as `backends` */

FLB_ARRAY(service_responses, struct flb_response_histogram, FLB_SIZED_BY_DAEMON); /* as `services` */

FLB_ARRAY(backend_responses, struct flb_response_histogram, FLB_SIZED_BY_DAEMON); /* as `backends` */

/* Bounded, and the oldest give way: a flood of first fragments costs others their fragments, nothing else. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, FLB_FRAGMENTS);
    __type(key, struct flb_fragment_key);
    __type(value, struct flb_fragment);
} fragments SEC(".maps");

FLB_ARRAY(fragment_ids, __u64, FLB_FRAGMENT_IDS);

FLB_ARRAY(icmp_budgets, struct flb_icmp_budget, FLB_SIZED_BY_DAEMON); /* processors */

FLB_ARRAY(flows4, struct flb_set4, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(flows6, struct flb_set6, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(limit_counts, struct flb_limit_set, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(limit_rates, struct flb_rate_set, FLB_SIZED_BY_DAEMON);

FLB_ARRAY(backend_counters, struct flb_backend_counters, FLB_SIZED_BY_DAEMON); /* processors * backends */

FLB_ARRAY(drop_counters, struct flb_drop_counters, FLB_SIZED_BY_DAEMON); /* processors */

/* Five maps, with pick_memory, that a daemon makes anew where an earlier version has not pinned them. */
FLB_ARRAY(slot_bounds, struct flb_slot_bounds, FLB_SIZED_BY_DAEMON); /* of the chunks of `slots` */

FLB_ARRAY(backend_chunks, __u64, FLB_SIZED_BY_DAEMON); /* as `backends` */

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, FLB_SAMPLES_BYTES);
} samples SEC(".maps");

FLB_ARRAY(sample_budgets, struct flb_sample_budget, FLB_SIZED_BY_DAEMON); /* processors * FLB_MAX_REASONS */

/* Not read by the programs; named here so that they are made, pinned and adopted with the rest. */
FLB_ARRAY(names, struct flb_name, FLB_SIZED_BY_DAEMON); /* as `services` */
FLB_ARRAY(layout, struct flb_field, FLB_MAX_FIELDS);

/* Memory of the slow path, for which the stack is too small. Packet programs are not interrupted by each other. */
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, FLB_SLOW_BYTES);
} slow_memory SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, FLB_PICK_BYTES);
} pick_memory SEC(".maps"); /* likewise; not in what is pinned by an earlier version */

/* Set by the daemon before loading; the verifier takes it for constants. */
const volatile struct flb_load flb_load = {
    .flow4_sets = 1,
    .flow6_sets = 1,
    .max_backends = 1,
    .processors = 1,
    .tick_shift = 8,
    .limit_sets = 1,
    .rate_sets = 1,
};

#endif
