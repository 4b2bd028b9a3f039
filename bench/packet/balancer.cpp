// SPDX-License-Identifier: Apache-2.0
#include "balancer.h"

#include <cstring>
#include <ctime>

#include <bpf/bpf.h>

#include "daemon/room.h"
#include "die.h"
#include "response.h"

namespace featherlb::bench {
namespace {

constexpr std::uint32_t loopback = 1;
constexpr std::uint16_t service_port = 80;

// 10.NET.x.y or fd00:NET::x
IpAddress numbered(bool v6, unsigned net, std::uint32_t number)
{
    if (v6)
        return address(fmt::format("fd00:{}::{:x}:{:x}", net, number >> 16, number & 0xffff));
    return address(fmt::format("10.{}.{}.{}", net, number >> 8, number & 0xff));
}

IpAddress source(bool v6, std::uint32_t i)
{
    return numbered(v6, 3, 1 + i);
}

std::string bracketed(const IpAddress& address)
{
    return fmt::format(fmt::runtime(address.is_ipv4() ? "{}" : "[{}]"), address.to_string());
}

// Any two differ in two bits at least, so that one wrong bit does not make another backend's.
Mac mac_of(std::uint32_t backend)
{
    return {
        2, 1, std::uint8_t(backend >> 8), std::uint8_t(backend), std::uint8_t(~backend >> 8), std::uint8_t(~backend)};
}

// The algorithm's lines of a service. Agents are asked by the daemon, so here nobody does.
std::string algorithm(Algorithm algorithm)
{
    return fmt::format("    algorithm: {}\n{}", to_string(algorithm),
        algorithm == Algorithm::resource_based ? "    agent: {port: 9999}\n" : "");
}

// Lines of a service. Limits that nobody reaches, lists in which nobody is: what asking costs, not being refused.
std::string admission(With with)
{
    std::string text;
    if (with == With::affinity || with == With::all)
        text += "    affinity: {timeout: 10m}\n";
    if (with == With::limits || with == With::all)
        text +=
            "    limits: {new_connections_per_source: 1000000/s, burst: 1000000, connections_per_source: 1000000}\n";
    if (with == With::lists || with == With::all) {
        text += "    allow: [10.0.0.0/8, \"fd00::/8\"]\n    deny: [";
        for (unsigned i = 0; i < 1000; i++)
            text += fmt::format("{}10.{}.{}.0/24", i ? ", " : "", 200 + i / 256, i % 256);
        text += "]\n";
    }
    return text;
}

} // namespace

std::string_view to_string(With with)
{
    switch (with) {
    case With::nothing:
        return "nothing";
    case With::affinity:
        return "affinity";
    case With::limits:
        return "limits";
    case With::lists:
        return "lists";
    case With::all:
        return "all";
    }
    return "";
}

Balancer::Balancer(const Shape& shape) : shape_(shape)
{
    make_text();
    const auto config = parse_config(text_, "bench.yaml");
    if (!config)
        die(config.error().format());
    DataPlaneOptions options;
    options.pins.clear();
    options.sizes = sizes_for(*config);
    plane_ = need(DataPlane::open(options));
    need(plane_->set_interface({.ifindex = loopback, .name = "lo", .mac = our_mac, .mtu = 1500}));
    const Tables have = need(plane_->read());
    tables_ = need(make_tables(*config, world(), have, {}, plane_->limits()));
    need(plane_->apply(tables_, diff(have, tables_)));
    flows_.emplace(*plane_);
}

// SYNs of a flood must not expire between two rounds: it is to find the table full of what is young.
void Balancer::make_text()
{
    text_ = fmt::format("flows: {{max: {}}}\ntimeouts: {{tcp_handshake: 10m, udp_stream: 10m}}\nsnat: {{addresses: [",
        shape_.flows_max);
    for (const bool v6 : {false, true})
        for (std::uint32_t i = 0; i < source_count; i++)
            text_ += fmt::format("{}\"{}\"", v6 || i ? ", " : "", source(v6, i).to_string());
    text_ += "]}\nservices:\n";
    std::uint32_t service = 0, backend = 0;
    for (const ServiceKind& kind : shape_.kinds) {
        numbers_[kind] = service;
        for (std::uint32_t copy = 0; copy < shape_.copies; copy++, service++) {
            const std::string where = bracketed(numbered(kind.v6, 1, service));
            text_ += fmt::format("  - name: service-{0}\n    listen: [\"{1}:{2}/tcp\", \"{1}:{2}/udp\"]\n"
                                 "{3}    forward: {4}\n{5}    backends:\n",
                service, where, service_port, algorithm(kind.algorithm), to_string(kind.forward), admission(kind.with));
            for (BackendId i = 0; i < kind.backends; i++, backend++) {
                const IpAddress at = numbered(kind.v6, 2, backend);
                backends_[kind][at] = mac_of(backend);
                text_ += fmt::format("      - {{address: \"{}:{}\"}}\n", bracketed(at), backend_port(kind.forward));
            }
        }
    }
}

World Balancer::world() const
{
    World world;
    for (const bool v6 : {false, true})
        for (std::uint32_t i = 0; i < source_count; i++) {
            world.local_addresses.insert(source(v6, i));
            world.homes[source(v6, i)] = loopback;
        }
    for (const auto& [kind, backends] : backends_)
        for (const auto& [address, mac] : backends) {
            NextHop hop{.mtu = 1500, .source = source(kind.v6, 0)};
            std::memcpy(hop.hop.mac, mac.data(), mac.size());
            hop.hop.link = loopback;
            world.next_hops[address] = hop;
        }
    return world;
}

int Balancer::program(Hook hook) const
{
    return hook == Hook::xdp ? plane_->xdp_program_fd() : plane_->tc_program_fd();
}

Endpoint Balancer::service(const ServiceKind& kind) const
{
    return {numbered(kind.v6, 1, numbers_.at(kind)), service_port};
}

const Mac* Balancer::backend(const ServiceKind& kind, const IpAddress& address) const
{
    const auto& of_kind = backends_.at(kind);
    const auto found = of_kind.find(address);
    return found == of_kind.end() ? nullptr : &found->second;
}

std::vector<Mac> Balancer::backend_macs(const ServiceKind& kind) const
{
    std::vector<Mac> macs;
    for (const auto& [address, mac] : backends_.at(kind))
        macs.push_back(mac);
    return macs;
}

bool Balancer::is_source(const IpAddress& address)
{
    for (std::uint32_t i = 0; i < source_count; i++)
        if (address == source(!address.is_ipv4(), i))
            return true;
    return false;
}

std::uint16_t Balancer::backend_port(Forward forward)
{
    return is_one_way(forward) ? service_port : 8080;
}

void Balancer::answer_times()
{
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const std::uint64_t ns = std::uint64_t(now.tv_sec) * 1'000'000'000 + std::uint64_t(now.tv_nsec);
    const auto microseconds = [ns](std::uint32_t us) { return response_add(0, us, ns); };
    for (const auto& [id, row] : tables_.backends) {
        flb_backend_load load{};
        const int map = plane_->map_fd("backend_loads");
        if (bpf_map_lookup_elem(map, &id, &load))
            die("cannot read backend_loads");
        load.response = microseconds(1000 + id % 100);
        if (bpf_map_update_elem(map, &id, &load, BPF_ANY))
            die("cannot write backend_loads");
    }
    for (const auto& [id, row] : tables_.services) {
        flb_response_histogram responses{};
        responses.smoothed = microseconds(1050);
        if (bpf_map_update_elem(plane_->map_fd("service_responses"), &id, &responses, BPF_ANY))
            die("cannot write service_responses");
    }
}

} // namespace featherlb::bench
