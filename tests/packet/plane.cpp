// SPDX-License-Identifier: Apache-2.0
#include "plane.h"

#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <fmt/format.h>

namespace featherlb::packet {
namespace {

constexpr std::uint64_t seed[2] = {0x9d2c5680'12345678, 0xefc60000'9abcdef1};

template <typename Key>
void clear_hash(Engine& engine, const char* map)
{
    Key key{};
    while (engine.next_key(map, nullptr, &key) == 0)
        engine.erase(map, &key);
}

void put(Engine& engine, const char* map, const void* key, const void* value)
{
    if (const int error = engine.update(map, key, value); error != 0)
        throw std::runtime_error(fmt::format("cannot write to the map {}: {}", map, error));
}

} // namespace

Plane& Plane::of(Sets sets)
{
    static std::map<Sets, std::unique_ptr<Plane>> planes;
    std::unique_ptr<Plane>& plane = planes[sets];
    if (!plane)
        plane.reset(new Plane(sets));
    return *plane;
}

Plane::Plane(Sets sets)
{
    processors_ = static_cast<std::uint32_t>(libbpf_num_possible_cpus());
    const MapSizes sizes = {{"services", max_services}, {"service_turns", max_services}, {"names", max_services},
        {"slots", max_chunks}, {"backends", max_backends}, {"backend_ports", max_backends},
        {"backend_marks", max_backends}, {"backend_loads", max_backends}, {"backend_responses", max_backends},
        {"service_responses", max_services}, {"snat_addresses", max_snat_addresses}, {"flows4", sets.ipv4},
        {"flows6", sets.ipv6}, {"backend_counters", max_backends * processors_}, {"drop_counters", processors_},
        {"icmp_budgets", processors_}, {"sample_budgets", processors_ * FLB_MAX_REASONS}, {"limit_counts", limit_sets},
        {"limit_rates", rate_sets}, {"pins", most_pins}, {"slot_bounds", max_chunks / FLB_CHUNKS_BOUNDED},
        {"backend_chunks", max_backends}};
    struct flb_load constants {};
    std::memcpy(constants.flow_seed, seed, sizeof(seed));
    constants.flow4_sets = sets.ipv4;
    constants.flow6_sets = sets.ipv6;
    constants.max_backends = max_backends;
    constants.processors = processors_;
    constants.tick_shift = tick_shift;
    constants.limit_sets = limit_sets;
    constants.rate_sets = rate_sets;
    engine_ = make_engine(sizes, constants);
    memory_ = engine_->memory();
}

void Plane::clear()
{
    for (const auto& [name, memory] : memory_)
        std::memset(memory.data(), 0, memory.size());
    clear_hash<flb_listener_key>(*engine_, "listeners");
    clear_hash<flb_listener_key>(*engine_, "sources");
    clear_hash<flb_fragment_key>(*engine_, "fragments");
    clear_hash<flb_prefix_key>(*engine_, "prefixes");
    clear_hash<flb_pin_key>(*engine_, "pins");
    settings().abi = FLB_ABI;
    settings().tick_shift = tick_shift;
    settings().hz = hz;
}

void Plane::ask_samples(std::uint64_t which)
{
    (void)engine_->take_samples();
    for (flb_sample_budget& budget : sample_budgets())
        budget = {};
    settings().sampled_until = 1u << 30; // time stands still
    settings().sampled = which;
}

void Plane::put_listener(const flb_listener_key& key, const flb_listener& value) const
{
    put(*engine_, "listeners", &key, &value);
}

void Plane::put_source(const flb_listener_key& key, const flb_source& value) const
{
    put(*engine_, "sources", &key, &value);
}

std::vector<std::pair<flb_fragment_key, flb_fragment>> Plane::fragments() const
{
    std::vector<std::pair<flb_fragment_key, flb_fragment>> all;
    flb_fragment_key key{}, next{};
    for (void* last = nullptr; engine_->next_key("fragments", last, &next) == 0; last = &key) {
        key = next;
        flb_fragment value{};
        if (engine_->lookup("fragments", &key, &value) == 0)
            all.emplace_back(key, value);
    }
    return all;
}

void Plane::put_fragment(const flb_fragment_key& key, const flb_fragment& value) const
{
    put(*engine_, "fragments", &key, &value);
}

void Plane::put_prefix(const flb_prefix_key& key, bool allow) const
{
    const flb_prefix value{allow, 0};
    put(*engine_, "prefixes", &key, &value);
}

void Plane::put_pin(const flb_pin_key& key, std::uint64_t value) const
{
    put(*engine_, "pins", &key, &value);
}

std::map<std::string, std::uint64_t> Plane::pins() const
{
    std::map<std::string, std::uint64_t> found;
    flb_pin_key key{}, next{};
    for (void* last = nullptr; engine_->next_key("pins", last, &next) == 0; last = &key) {
        std::uint64_t value = 0;
        if (engine_->lookup("pins", &next, &value) == 0)
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
    xdp_md context{};
    context.ingress_ifindex = arrival.ifindex;
    return engine_->run_xdp(wire, context);
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
    Outcome out = engine_->run_skb(in, context, false);
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
    return engine_->run_skb(wire, context, true);
}

} // namespace featherlb::packet
