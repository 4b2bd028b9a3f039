// SPDX-License-Identifier: Apache-2.0
#include "runner.h"

#include <algorithm>
#include <cstring>
#include <ctime>

#include <bpf/bpf.h>
#include <sys/mman.h>

#include "die.h"
#include "floors.skel.h"
#include "harness.h"
#include "harness.skel.h"

namespace featherlb::bench {
namespace {

floors_bpf* load_floors(std::uint32_t sets)
{
    floors_bpf* floors = floors_bpf__open();
    if (!floors || bpf_map__set_max_entries(floors->maps.table, sets))
        die("cannot open the floors");
    floors->rodata->sets = sets;
    if (floors_bpf__load(floors))
        die(fmt::format("cannot load the memory floor of {} sets: {}", sets, std::strerror(errno)));
    return floors;
}

// Of this thread.
double processor_ns()
{
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// The kernel's own figure, `whole`, is in whole nanoseconds, rounded down: too coarse for a floor of eight. Where
// between it and the next one the truth lies, processor time says, less what a run costs besides its packets. Where
// there is clearly less of that, others had the processor in between, and it alone is right.
double packet_ns(double used, double besides, double whole)
{
    const double ns = used - besides;
    if (ns < whole - besides)
        return ns;
    return std::clamp(ns, whole, whole + 1);
}

} // namespace

Runner::Runner(bool drained) : harness_(harness_bpf__open_and_load()), drained_(drained)
{
    if (!harness_)
        die("cannot load the harness");
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(harness_->maps.state), 0);
    if (memory == MAP_FAILED)
        die("cannot map the harness's state");
    state_ = static_cast<harness_state*>(memory);
}

Runner::~Runner()
{
    for (const auto& [sets, floors] : floors_)
        floors_bpf__destroy(floors);
    harness_bpf__destroy(harness_);
}

int Runner::empty(Hook hook) const
{
    return bpf_program__fd(hook == Hook::xdp ? harness_->progs.empty : harness_->progs.empty_tc);
}

int Runner::floor(const std::string& name, std::uint32_t sets)
{
    floors_bpf*& floors = floors_[sets];
    if (!floors)
        floors = load_floors(sets);
    if (name == "header")
        return bpf_program__fd(floors->progs.header);
    return bpf_program__fd(name == "memory" ? floors->progs.memory : floors->progs.memory_header);
}

void Runner::set_state(const Frame& frame, const Rotation& rotation)
{
    const bool v6 = is_ipv6(frame);
    const Tuple tuple = tuple_of(frame);
    harness_state state{};
    std::memcpy(state.template_words, frame.data(), HARNESS_TEMPLATE_BYTES);
    state.frame_bytes = frame_bytes;
    state.flows = rotation.flows;
    state.next = rotation.first;
    state.v6 = v6;
    std::memcpy(state.addresses, frame.data() + (v6 ? HARNESS_ADDRESSES6 : HARNESS_ADDRESSES4), v6 ? 32 : 8);
    std::memcpy(&state.ports, frame.data() + (v6 ? HARNESS_PORTS6 : HARNESS_PORTS4), sizeof(state.ports));
    state.address_base = last_word(tuple.source.address);
    state.port_base = tuple.source.port;
    state.destinations = rotation.destinations;
    state.next_destination = rotation.first % rotation.destinations;
    state.destination_base = last_word(tuple.destination.address);
    state.drained = drained_;
    *state_ = state;
}

Output Runner::run(Hook hook, int program, const Frame& frame, const Rotation& rotation, std::uint32_t packets)
{
    const double besides = packets > 1 ? start(hook, empty(hook), frame, {}, 2).used_ns : 0;
    Run run = start(hook, program, frame, rotation, packets);
    run.output.ns = packet_ns(run.used_ns / packets, besides / packets, run.duration_ns);
    return std::move(run.output);
}

Runner::Run Runner::start(Hook hook, int program, const Frame& frame, const Rotation& rotation, std::uint32_t packets)
{
    const std::uint32_t zero = 0;
    const bool xdp = hook == Hook::xdp;
    const bpf_map* measured = xdp ? harness_->maps.measured : harness_->maps.measured_tc;
    if (bpf_map_update_elem(bpf_map__fd(measured), &zero, &program, BPF_ANY))
        die(fmt::format("cannot set the measured program: {}", std::strerror(errno)));
    set_state(frame, rotation);
    Run run;
    run.output.bytes.resize(256);
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_out = run.output.bytes.data(),
        .data_size_in = frame_bytes, .data_size_out = static_cast<std::uint32_t>(run.output.bytes.size()),
        .repeat = static_cast<int>(packets));
    const int harness = bpf_program__fd(xdp ? harness_->progs.harness : harness_->progs.harness_tc);
    const double begun = processor_ns();
    if (bpf_prog_test_run_opts(harness, &options))
        die(fmt::format("test run failed: {}", std::strerror(errno)));
    run.used_ns = processor_ns() - begun;
    run.duration_ns = options.duration;
    run.output.bytes.resize(options.data_size_out);
    run.output.verdict = options.retval;
    return run;
}

} // namespace featherlb::bench
