// SPDX-License-Identifier: Apache-2.0
// The engine that is the kernel: both programs loaded over one set of maps, BPF_PROG_TEST_RUN.
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine.h"
#include "kernel/load_skeleton.h"
#include "plane.h"
#include "tc.skel.h"
#include "xdp.skel.h"

namespace featherlb::packet {
namespace {

constexpr std::size_t largest_frame = 65536;

std::size_t page_aligned(std::size_t bytes)
{
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return (bytes + page - 1) / page * page;
}

class KernelEngine : public Engine {
public:
    KernelEngine(const MapSizes& sizes, const flb_load& constants);
    ~KernelEngine() override;
    KernelEngine(const KernelEngine&) = delete;
    KernelEngine& operator=(const KernelEngine&) = delete;

    std::map<std::string, std::span<std::uint8_t>> memory() override { return memory_; }
    int update(const char* map, const void* key, const void* value) override
    {
        return bpf_map_update_elem(fd(map), key, value, BPF_ANY);
    }
    int lookup(const char* map, const void* key, void* value) override
    {
        return bpf_map_lookup_elem(fd(map), key, value);
    }
    int next_key(const char* map, const void* key, void* next) override
    {
        return bpf_map_get_next_key(fd(map), key, next);
    }
    int erase(const char* map, const void* key) override { return bpf_map_delete_elem(fd(map), key); }
    std::vector<flb_sample> take_samples() override;
    Outcome run_xdp(const Bytes& in, xdp_md& context) override;
    Outcome run_skb(const Bytes& in, __sk_buff& context, bool tags_in_packet) override;

private:
    [[nodiscard]] int fd(const char* map) const { return bpf_object__find_map_fd_by_name(xdp_->obj, map); }
    // The one whose value the program addresses, where there are two of the name.
    [[nodiscard]] const bpf_map* used_by_xdp(const std::string& name) const
    {
        const bpf_map* direct = bpf_object__find_map_by_name(xdp_->obj, (FLB_DIRECT_SECTION + name).c_str());
        return direct ? direct : bpf_object__find_map_by_name(xdp_->obj, name.c_str());
    }
    void load(const MapSizes& sizes, const flb_load& constants);
    void map_memory();

    xdp_bpf* xdp_ = nullptr;
    tc_bpf* tc_ = nullptr;
    TcFront front_;
    ring_buffer* ring_ = nullptr;
    std::vector<flb_sample> samples_;
    std::map<std::string, std::span<std::uint8_t>> memory_;
};

KernelEngine::KernelEngine(const MapSizes& sizes, const flb_load& constants)
{
    load(sizes, constants);
    map_memory();
    ring_ = ring_buffer__new(
        fd("samples"),
        [](void* samples, void* data, std::size_t) {
            static_cast<std::vector<flb_sample>*>(samples)->push_back(*static_cast<const flb_sample*>(data));
            return 0;
        },
        &samples_, nullptr);
    if (ring_ == nullptr)
        throw std::system_error(errno, std::generic_category(), "samples");
}

KernelEngine::~KernelEngine()
{
    ring_buffer__free(ring_);
    for (const auto& [name, memory] : memory_)
        munmap(memory.data(), page_aligned(memory.size()));
    tc_bpf__destroy(tc_);
    xdp_bpf__destroy(xdp_);
}

void KernelEngine::load(const MapSizes& sizes, const flb_load& constants)
{
    xdp_ = xdp_bpf__open();
    tc_ = tc_bpf__open();
    if (!xdp_ || !tc_)
        throw std::runtime_error("cannot open the packet programs");
    bpf_object* object = xdp_->obj;
    for (const auto& [name, entries] : sizes) {
        bpf_map* map = bpf_object__find_map_by_name(object, name.c_str());
        if (!map || bpf_map__set_max_entries(map, entries) != 0)
            throw std::runtime_error(fmt::format("cannot size the map {}", name));
    }
    std::memcpy(
        const_cast<void*>(static_cast<const volatile void*>(&xdp_->rodata->flb_load)), &constants, sizeof(constants));
    std::memcpy(
        const_cast<void*>(static_cast<const volatile void*>(&tc_->rodata->flb_load)), &constants, sizeof(constants));
    if (xdp_bpf__load(xdp_) != 0)
        throw std::system_error(
            errno, std::generic_category(), "the packet tests need root: cannot load the XDP program");
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, tc_->obj)
    {
        const std::string name = load_skeleton_detail::shared_name(map);
        if (!name.empty() && bpf_map__reuse_fd(map, bpf_map__fd(used_by_xdp(name))) != 0)
            throw std::runtime_error(fmt::format("cannot share the map {}", name));
    }
    if (tc_bpf__load(tc_) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot load the program for TC");
    front_ = make_tc_front(bpf_program__fd(tc_->progs.flb_tc));
}

void KernelEngine::map_memory()
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, xdp_->obj)
    {
        const std::string name = load_skeleton_detail::shared_name(map);
        if (map != used_by_xdp(name) || !(bpf_map__map_flags(map) & BPF_F_MMAPABLE))
            continue;
        const std::size_t size =
            static_cast<std::size_t>(bpf_map__value_size(map) + 7) / 8 * 8 * bpf_map__max_entries(map);
        void* memory = mmap(nullptr, page_aligned(size), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
        if (memory == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), bpf_map__name(map));
        memory_[name] = {static_cast<std::uint8_t*>(memory), size};
    }
}

std::vector<flb_sample> KernelEngine::take_samples()
{
    ring_buffer__consume(ring_);
    return std::exchange(samples_, {});
}

Outcome KernelEngine::run_xdp(const Bytes& in, xdp_md& context)
{
    Outcome out;
    out.bytes.resize(largest_frame);
    context.data_end = static_cast<std::uint32_t>(in.size());
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = in.data();
    options.data_size_in = static_cast<std::uint32_t>(in.size());
    options.data_out = out.bytes.data();
    options.data_size_out = static_cast<std::uint32_t>(out.bytes.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    if (bpf_prog_test_run_opts(bpf_program__fd(xdp_->progs.flb_xdp), &options) != 0)
        throw std::system_error(errno, std::generic_category(), "test run of XDP");
    out.bytes.resize(options.data_size_out);
    out.code = static_cast<int>(options.retval);
    static const std::map<int, Verdict> verdicts = {{XDP_PASS, Verdict::pass}, {XDP_DROP, Verdict::drop},
        {XDP_TX, Verdict::transmit}, {XDP_REDIRECT, Verdict::redirect}};
    if (const auto found = verdicts.find(out.code); found != verdicts.end())
        out.verdict = found->second;
    return out;
}

Outcome KernelEngine::run_skb(const Bytes& in, __sk_buff& context, bool tags_in_packet)
{
    static const std::map<int, Verdict> verdicts = {
        {TC_ACT_UNSPEC, Verdict::pass}, {TC_ACT_SHOT, Verdict::drop}, {TC_ACT_REDIRECT, Verdict::redirect}};
    Outcome out;
    out.bytes.resize(largest_frame);
    __sk_buff context_out{};
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = in.data();
    options.data_size_in = static_cast<std::uint32_t>(in.size());
    options.data_out = out.bytes.data();
    options.data_size_out = static_cast<std::uint32_t>(out.bytes.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    options.ctx_out = &context_out;
    options.ctx_size_out = sizeof(context_out);
    const int program = tags_in_packet ? bpf_program__fd(tc_->progs.flb_tc) : front_.program.get();
    if (bpf_prog_test_run_opts(program, &options) != 0)
        throw std::system_error(errno, std::generic_category(), "test run of TC");
    context = context_out;
    out.bytes.resize(options.data_size_out);
    out.code = static_cast<int>(options.retval);
    if (const auto found = verdicts.find(out.code); found != verdicts.end())
        out.verdict = found->second;
    return out;
}

} // namespace

std::unique_ptr<Engine> make_engine(const MapSizes& sizes, const flb_load& constants)
{
    return std::make_unique<KernelEngine>(sizes, constants);
}

} // namespace featherlb::packet
