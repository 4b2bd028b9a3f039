// SPDX-License-Identifier: Apache-2.0
// Drives the real Network for the lab tests: commands on standard input, one JSON value a line on standard output.
//   interfaces | addresses | hop ADDRESS | retain [ADDRESS...] | maintain | release
//   wait MILLISECONDS   what changed, as soon as something did
//   time ADDRESS...     microseconds for asking for all of them, first and again
#include <chrono>
#include <iostream>
#include <sstream>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>

#include "kernel/network.h"

namespace featherlb {
namespace {

using Json = nlohmann::json;

std::string mac_text(const std::uint8_t* mac)
{
    return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

Json to_json(const Error& error)
{
    return {{"message", error.message}, {"remedy", error.remedy}};
}

Json to_json(const Interface& i)
{
    Json json = {{"index", i.index}, {"name", i.name}, {"mac", mac_text(i.mac.data())}, {"mtu", i.mtu}, {"up", i.up},
        {"carrier", i.carrier}, {"loopback", i.loopback}, {"ethernet", i.ethernet}, {"no_arp", i.no_arp},
        {"kind", i.kind}, {"master", i.master}, {"tx_queues", i.tx_queues}, {"rx_queues", i.rx_queues},
        {"driver", i.driver}, {"rx_vlan_offload", i.rx_vlan_offload}, {"tx_checksum_offload", i.tx_checksum_offload},
        {"vlan", nullptr}};
    if (i.vlan)
        json["vlan"] = {{"parent", i.vlan->parent}, {"id", i.vlan->id}, {"ad", i.vlan->ad}};
    return json;
}

Json to_json(const InterfaceAddress& a)
{
    return {{"address", a.address.to_string()}, {"prefix_length", a.prefix_length}, {"ifindex", a.ifindex},
        {"link_local", a.link_local}, {"deprecated", a.deprecated}};
}

Json to_json(const Way& way)
{
    const flb_hop& hop = way.next.hop;
    Json json = {{"mac", mac_text(hop.mac)}, {"slot", hop.link & FLB_LINK_SLOT},
        {"tags", (hop.link & FLB_LINK_TAGS) >> FLB_LINK_TAGS_SHIFT}, {"outer_ad", (hop.link & FLB_LINK_OUTER_AD) != 0},
        {"vlan", {hop.vlan[0], hop.vlan[1]}}, {"mtu", way.next.mtu}, {"source", nullptr}, {"ifindex", way.ifindex},
        {"device", way.device}, {"neighbour", nullptr}, {"problem", nullptr}};
    if (way.next.source)
        json["source"] = way.next.source->to_string();
    if (way.neighbour)
        json["neighbour"] = way.neighbour->to_string();
    if (way.problem)
        json["problem"] = to_json(*way.problem);
    return json;
}

template <typename T>
Json to_json(const Result<std::vector<T>>& list)
{
    if (!list)
        return to_json(list.error());
    Json json = Json::array();
    for (const T& item : *list)
        json.push_back(to_json(item));
    return json;
}

Json wait_for_changes(Network& network, int milliseconds)
{
    pollfd ready{.fd = network.event_fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&ready, 1, milliseconds);
    const NetworkChanges changes = network.drain();
    return {{"links", changes.links}, {"addresses", changes.addresses}, {"routes", changes.routes},
        {"neighbours", changes.neighbours}};
}

std::vector<IpAddress> rest_of(std::istringstream& line)
{
    std::vector<IpAddress> addresses;
    for (std::string word; line >> word;)
        addresses.push_back(IpAddress::parse(word).value());
    return addresses;
}

Json time_of(Network& network, const std::vector<IpAddress>& destinations)
{
    Json rounds = Json::array();
    for (int round = 0; round < 2; ++round) {
        const auto begin = std::chrono::steady_clock::now();
        for (const IpAddress& destination : destinations)
            (void)network.next_hop(destination);
        const auto took = std::chrono::steady_clock::now() - begin;
        rounds.push_back(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
    }
    return rounds;
}

Json run(Network& network, const std::string& text)
{
    std::istringstream line(text);
    std::string command;
    line >> command;
    if (command == "interfaces")
        return to_json(network.interfaces());
    if (command == "addresses")
        return to_json(network.addresses());
    if (command == "hop")
        return to_json(network.next_hop(rest_of(line).at(0)));
    if (command == "time")
        return time_of(network, rest_of(line));
    if (command == "wait") {
        int milliseconds = 0;
        line >> milliseconds;
        return wait_for_changes(network, milliseconds);
    }
    if (command == "retain") {
        const auto addresses = rest_of(line);
        network.retain({addresses.begin(), addresses.end()});
        return true;
    }
    if (command == "maintain")
        return network.maintain();
    if (command == "release") {
        network.release();
        return true;
    }
    return "unknown command: " + command;
}

} // namespace
} // namespace featherlb

int main()
{
    auto network = featherlb::open_network();
    if (!network) {
        std::cerr << network.error().message << "\n";
        return 1;
    }
    for (std::string line; std::getline(std::cin, line);)
        std::cout << featherlb::run(**network, line).dump() << std::endl;
}
