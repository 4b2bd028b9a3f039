// SPDX-License-Identifier: Apache-2.0
#include "plane.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/pkt_cls.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

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

void set_size(bpf_object* object, const char* name, std::uint32_t entries)
{
    bpf_map* map = bpf_object__find_map_by_name(object, name);
    if (!map || bpf_map__set_max_entries(map, entries) != 0)
        throw std::runtime_error(fmt::format("cannot size the map {}", name));
}

Outcome run_skb(int program, const Bytes& in, __sk_buff& context)
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
    if (bpf_prog_test_run_opts(program, &options) != 0)
        throw std::system_error(errno, std::generic_category(), "test run of TC");
    context = context_out;
    out.bytes.resize(options.data_size_out);
    out.code = static_cast<int>(options.retval);
    if (const auto found = verdicts.find(out.code); found != verdicts.end())
        out.verdict = found->second;
    return out;
}

constexpr std::uint64_t seed[2] = {0x9d2c5680'12345678, 0xefc60000'9abcdef1};

template <typename Key>
void clear_hash(int fd)
{
    Key key{};
    while (bpf_map_get_next_key(fd, nullptr, &key) == 0)
        bpf_map_delete_elem(fd, &key);
}

} // namespace

struct Plane::Programs {
    xdp_bpf* xdp = nullptr;
    tc_bpf* tc = nullptr;
    TcFront front;

    Programs() = default;
    Programs(const Programs&) = delete;
    Programs& operator=(const Programs&) = delete;
    ~Programs()
    {
        tc_bpf__destroy(tc);
        xdp_bpf__destroy(xdp);
    }
};

Plane& Plane::of(Sets sets)
{
    static std::map<Sets, std::unique_ptr<Plane>> planes;
    std::unique_ptr<Plane>& plane = planes[sets];
    if (!plane)
        plane.reset(new Plane(sets));
    return *plane;
}

Plane::Plane(Sets sets) : programs_(std::make_unique<Programs>())
{
    processors_ = static_cast<std::uint32_t>(libbpf_num_possible_cpus());
    load(sets);
    map_memory();
}

Plane::~Plane()
{
    for (const auto& [name, memory] : memory_)
        munmap(memory.data(), page_aligned(memory.size()));
}

void Plane::load(Sets sets)
{
    Programs& p = *programs_;
    p.xdp = xdp_bpf__open();
    p.tc = tc_bpf__open();
    if (!p.xdp || !p.tc)
        throw std::runtime_error("cannot open the packet programs");
    bpf_object* object = p.xdp->obj;
    for (const auto& [name, entries] :
        std::map<const char*, std::uint32_t>{{"services", max_services}, {"service_turns", max_services},
            {"names", max_services}, {"slots", max_chunks}, {"backends", max_backends}, {"backend_ports", max_backends},
            {"backend_marks", max_backends}, {"snat_addresses", max_snat_addresses}, {"flows4", sets.ipv4},
            {"flows6", sets.ipv6}, {"backend_counters", max_backends * processors_}, {"drop_counters", processors_},
            {"icmp_budgets", processors_}, {"limit_counts", limit_sets}, {"limit_rates", rate_sets},
            {"pins", most_pins}})
        set_size(object, name, entries);
    struct flb_load constants {};
    std::memcpy(constants.flow_seed, seed, sizeof(seed));
    constants.flow4_sets = sets.ipv4;
    constants.flow6_sets = sets.ipv6;
    constants.max_backends = max_backends;
    constants.processors = processors_;
    constants.tick_shift = tick_shift;
    constants.limit_sets = limit_sets;
    constants.rate_sets = rate_sets;
    std::memcpy(
        const_cast<void*>(static_cast<const volatile void*>(&p.xdp->rodata->flb_load)), &constants, sizeof(constants));
    std::memcpy(
        const_cast<void*>(static_cast<const volatile void*>(&p.tc->rodata->flb_load)), &constants, sizeof(constants));
    if (xdp_bpf__load(p.xdp) != 0)
        throw std::system_error(
            errno, std::generic_category(), "the packet tests need root: cannot load the XDP program");
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, p.tc->obj)
    {
        const bpf_map* made = bpf_object__find_map_by_name(object, bpf_map__name(map));
        if (!bpf_map__is_internal(map) && bpf_map__reuse_fd(map, bpf_map__fd(made)) != 0)
            throw std::runtime_error(fmt::format("cannot share the map {}", bpf_map__name(map)));
    }
    if (tc_bpf__load(p.tc) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot load the program for TC");
    p.front = make_tc_front(bpf_program__fd(p.tc->progs.flb_tc));
}

void Plane::map_memory()
{
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, programs_->xdp->obj)
    {
        if (bpf_map__is_internal(map) || !(bpf_map__map_flags(map) & BPF_F_MMAPABLE))
            continue;
        const std::size_t size =
            static_cast<std::size_t>(bpf_map__value_size(map) + 7) / 8 * 8 * bpf_map__max_entries(map);
        void* memory = mmap(nullptr, page_aligned(size), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
        if (memory == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), bpf_map__name(map));
        memory_[bpf_map__name(map)] = {static_cast<std::uint8_t*>(memory), size};
    }
}

void Plane::clear()
{
    for (const auto& [name, memory] : memory_)
        std::memset(memory.data(), 0, memory.size());
    clear_hash<flb_listener_key>(bpf_map__fd(programs_->xdp->maps.listeners));
    clear_hash<flb_listener_key>(bpf_map__fd(programs_->xdp->maps.sources));
    clear_hash<flb_fragment_key>(bpf_map__fd(programs_->xdp->maps.fragments));
    clear_hash<flb_prefix_key>(bpf_map__fd(programs_->xdp->maps.prefixes));
    clear_hash<flb_pin_key>(bpf_map__fd(programs_->xdp->maps.pins));
    settings().abi = FLB_ABI;
    settings().tick_shift = tick_shift;
    settings().hz = hz;
}

void Plane::put_listener(const flb_listener_key& key, const flb_listener& value) const
{
    if (bpf_map_update_elem(bpf_map__fd(programs_->xdp->maps.listeners), &key, &value, BPF_ANY) != 0)
        throw std::system_error(errno, std::generic_category(), "listeners");
}

void Plane::put_source(const flb_listener_key& key, const flb_source& value) const
{
    if (bpf_map_update_elem(bpf_map__fd(programs_->xdp->maps.sources), &key, &value, BPF_ANY) != 0)
        throw std::system_error(errno, std::generic_category(), "sources");
}

std::vector<std::pair<flb_fragment_key, flb_fragment>> Plane::fragments() const
{
    const int fd = bpf_map__fd(programs_->xdp->maps.fragments);
    std::vector<std::pair<flb_fragment_key, flb_fragment>> all;
    flb_fragment_key key{}, next{};
    for (void* last = nullptr; bpf_map_get_next_key(fd, last, &next) == 0; last = &key) {
        key = next;
        flb_fragment value{};
        if (bpf_map_lookup_elem(fd, &key, &value) == 0)
            all.emplace_back(key, value);
    }
    return all;
}

void Plane::put_fragment(const flb_fragment_key& key, const flb_fragment& value) const
{
    if (bpf_map_update_elem(bpf_map__fd(programs_->xdp->maps.fragments), &key, &value, BPF_ANY) != 0)
        throw std::system_error(errno, std::generic_category(), "fragments");
}

void Plane::put_prefix(const flb_prefix_key& key, bool allow) const
{
    const flb_prefix value{allow, 0};
    if (bpf_map_update_elem(bpf_map__fd(programs_->xdp->maps.prefixes), &key, &value, BPF_ANY) != 0)
        throw std::system_error(errno, std::generic_category(), "prefixes");
}

void Plane::put_pin(const flb_pin_key& key, std::uint64_t value) const
{
    if (bpf_map_update_elem(bpf_map__fd(programs_->xdp->maps.pins), &key, &value, BPF_ANY) != 0)
        throw std::system_error(errno, std::generic_category(), "pins");
}

std::map<std::string, std::uint64_t> Plane::pins() const
{
    const int fd = bpf_map__fd(programs_->xdp->maps.pins);
    std::map<std::string, std::uint64_t> found;
    flb_pin_key key{}, next{};
    for (int more = bpf_map_get_next_key(fd, nullptr, &next); more == 0; more = bpf_map_get_next_key(fd, &key, &next)) {
        std::uint64_t value = 0;
        if (bpf_map_lookup_elem(fd, &next, &value) == 0)
            found.emplace(std::string(reinterpret_cast<const char*>(&next), sizeof(next)), value);
        key = next;
    }
    return found;
}

SourceCounts Plane::source_counts() const
{
    return {.sets = table<flb_limit_set>("limit_counts"), .seed = {seed[0], seed[1]}};
}

std::uint32_t Plane::counted(unsigned service, const IpAddress& client) const
{
    const flb_addr bytes = client.to_abi();
    std::uint64_t word = 0;
    std::memcpy(&word, &bytes, client.is_ipv4() ? 4 : 8);
    return source_counts().open(service, word);
}

std::uint64_t Plane::events(std::uint32_t event) const
{
    std::uint64_t sum = 0;
    for (const flb_drop_counters& counters : table<flb_drop_counters>("drop_counters"))
        sum += counters.events[event];
    return sum;
}

std::uint64_t Plane::drops(std::uint32_t reason) const
{
    std::uint64_t sum = 0;
    for (const flb_drop_counters& counters : table<flb_drop_counters>("drop_counters"))
        sum += counters.packets[reason];
    return sum;
}

flb_backend_counters Plane::counters(std::uint32_t backend) const
{
    flb_backend_counters sum{};
    const auto all = table<flb_backend_counters>("backend_counters");
    for (std::uint32_t processor = 0; processor < processors_; processor++) {
        const flb_backend_counters& one = all[processor * max_backends + backend];
        for (int direction = 0; direction < 2; direction++) {
            sum.packets[direction] += one.packets[direction];
            sum.bytes[direction] += one.bytes[direction];
        }
        sum.connections += one.connections;
    }
    return sum;
}

Outcome Plane::run(Hook hook, const Bytes& wire, const Arrival& arrival) const
{
    return hook == Hook::xdp ? run_xdp(wire, arrival) : run_tc(wire, arrival);
}

Outcome Plane::run_xdp(const Bytes& wire, const Arrival& arrival) const
{
    Outcome out;
    out.bytes.resize(largest_frame);
    xdp_md context{};
    context.data_end = static_cast<std::uint32_t>(wire.size());
    context.ingress_ifindex = arrival.ifindex;
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = wire.data();
    options.data_size_in = static_cast<std::uint32_t>(wire.size());
    options.data_out = out.bytes.data();
    options.data_size_out = static_cast<std::uint32_t>(out.bytes.size());
    options.ctx_in = &context;
    options.ctx_size_in = sizeof(context);
    if (bpf_prog_test_run_opts(bpf_program__fd(programs_->xdp->progs.flb_xdp), &options) != 0)
        throw std::system_error(errno, std::generic_category(), "test run of XDP");
    out.bytes.resize(options.data_size_out);
    out.code = static_cast<int>(options.retval);
    static const std::map<int, Verdict> verdicts = {{XDP_PASS, Verdict::pass}, {XDP_DROP, Verdict::drop},
        {XDP_TX, Verdict::transmit}, {XDP_REDIRECT, Verdict::redirect}};
    if (const auto found = verdicts.find(out.code); found != verdicts.end())
        out.verdict = found->second;
    return out;
}

Outcome Plane::run_tc(const Bytes& wire, const Arrival& arrival) const
{
    constexpr std::size_t macs = 12, tag = 4;
    Bytes in = wire;
    __sk_buff context{};
    context.ifindex = arrival.ifindex;
    context.ingress_ifindex = arrival.ifindex;
    context.gso_size = arrival.gso_size;
    context.gso_segs = arrival.gso_size ? 2 : 0;
    const unsigned type = wire.size() >= macs + tag + 2 ? static_cast<unsigned>(wire[macs]) << 8 | wire[macs + 1] : 0;
    if (type == tag_q || type == tag_ad) {
        context.cb[0] = static_cast<std::uint32_t>(htons(static_cast<std::uint16_t>(type))) << 16 |
                        static_cast<std::uint32_t>(wire[macs + 2]) << 8 | wire[macs + 3];
        in.erase(in.begin() + macs, in.begin() + macs + tag);
    }
    Outcome out = run_skb(programs_->front.program.get(), in, context);
    if (context.cb[0]) {
        const std::uint16_t protocol = ntohs(static_cast<std::uint16_t>(context.cb[2]));
        const std::uint32_t tci = context.cb[1];
        const Bytes text = {static_cast<std::uint8_t>(protocol >> 8), static_cast<std::uint8_t>(protocol),
            static_cast<std::uint8_t>(tci >> 8), static_cast<std::uint8_t>(tci)};
        out.bytes.insert(out.bytes.begin() + macs, text.begin(), text.end());
    }
    return out;
}

Outcome Plane::run_untouched(const Bytes& wire, unsigned ifindex) const
{
    __sk_buff context{};
    context.ifindex = ifindex;
    context.ingress_ifindex = ifindex;
    return run_skb(bpf_program__fd(programs_->tc->progs.flb_tc), wire, context);
}

} // namespace featherlb::packet
