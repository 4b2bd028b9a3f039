// SPDX-License-Identifier: Apache-2.0
#include "config/listeners.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"

namespace featherlb {

namespace {

struct Claim {
    const ListenerConfig* listener = nullptr;
    std::size_t service = 0;
    std::size_t number = 0; // in the order of the file
};

// By their first port; none overlaps another.
using Claims = std::map<std::uint16_t, Claim>;

class ListenerRules {
public:
    ListenerRules(const Config& config, Problems& problems) : config_(config), problems_(problems) {}

    void check()
    {
        std::size_t number = 0;
        for (std::size_t service = 0; service < config_.services.size(); ++service) {
            for (const ListenerConfig& listener : config_.services[service].listeners)
                claim({&listener, service, number++});
        }
        for (const Protocol protocol : {Protocol::tcp, Protocol::udp})
            compare_with_star(protocol);
    }

private:
    // Claims of one address, or of "*".
    void claim(const Claim& claim)
    {
        const ListenerConfig& listener = *claim.listener;
        Claims& others = claims_[{listener.protocol, listener.address}];
        auto next = others.upper_bound(listener.last_port());
        if (next != others.begin() && std::prev(next)->second.listener->last_port() >= listener.port)
            return report_same(claim, std::prev(next)->second);
        others.emplace_hint(next, listener.port, claim);
    }

    // Those of an address with those of "*", which in one service may stand together.
    void compare_with_star(Protocol protocol)
    {
        const auto found = claims_.find({protocol, std::nullopt});
        if (found == claims_.end())
            return;
        std::vector<Claim> stars;
        for (const auto& [port, star] : found->second)
            stars.push_back(star);
        // Behind each, the first that belongs to another service.
        std::vector<std::size_t> change(stars.size(), stars.size());
        for (std::size_t i = stars.size(); i-- > 1;)
            change[i - 1] = stars[i - 1].service == stars[i].service ? change[i] : i;
        std::set<std::size_t> reported;
        for (const auto& [key, claims] : claims_) {
            if (key.first != protocol || !key.second)
                continue;
            for (const auto& [port, claim] : claims)
                compare(claim, stars, change, reported);
        }
    }

    void compare(const Claim& claim, const std::vector<Claim>& stars, const std::vector<std::size_t>& change,
        std::set<std::size_t>& reported)
    {
        const auto first = std::partition_point(stars.begin(), stars.end(),
            [&](const Claim& star) { return star.listener->last_port() < claim.listener->port; });
        auto at = static_cast<std::size_t>(first - stars.begin());
        if (at < stars.size() && stars[at].service == claim.service)
            at = change[at];
        if (at == stars.size() || stars[at].listener->port > claim.listener->last_port())
            return;
        const Claim& star = stars[at];
        if (star.number < claim.number)
            report_overlap(claim, star);
        else if (reported.insert(at).second)
            report_overlap(star, claim);
    }

    [[nodiscard]] std::string name(const Claim& claim) const { return quote(to_string(*claim.listener)); }

    void report_same(const Claim& claim, const Claim& first)
    {
        const bool same =
            claim.listener->port == first.listener->port && claim.listener->more_ports == first.listener->more_ports;
        const std::string line = fmt::format("the one in line {}", first.listener->place.line);
        if (first.service == claim.service)
            return problems_.add(claim.listener->place,
                same ? fmt::format("the listener {} is there twice", name(claim))
                     : fmt::format("the listener {} overlaps {}", name(claim), name(first)),
                fmt::format("{} this one or {}", same ? "remove" : "change", line));
        const std::string owner = quote(config_.services[first.service].name);
        problems_.add(claim.listener->place,
            same ? fmt::format("two services on one listener: {} belongs to {} already", name(claim), owner)
                 : fmt::format("two services on one listener: {} overlaps {} of {}", name(claim), name(first), owner),
            fmt::format("change this one or {}", line));
    }

    void report_overlap(const Claim& claim, const Claim& first)
    {
        problems_.add(claim.listener->place,
            fmt::format("two services on one listener: {} overlaps one of {}, and \"*\" means every address",
                name(claim), quote(config_.services[first.service].name)),
            fmt::format("change this one or the one in line {}: list addresses instead of \"*\", or use another port",
                first.listener->place.line));
    }

    const Config& config_;
    Problems& problems_;
    std::map<std::pair<Protocol, std::optional<IpAddress>>, Claims> claims_;
};

// "*" counts as one address here; what it stands for is known when a plan is made.
void check_room(const Config& config, Problems& problems)
{
    std::uint64_t all = 0;
    const ListenerConfig* first = nullptr; // that there is no room for
    for (const ServiceConfig& service : config.services) {
        for (const ListenerConfig& listener : service.listeners) {
            all += listener.count();
            if (all > FLB_MAX_LISTENERS && first == nullptr)
                first = &listener;
        }
    }
    if (first != nullptr)
        problems.add(first->place,
            fmt::format(
                "all listeners together are {} addresses and ports, and there is room for {}", all, FLB_MAX_LISTENERS),
            "use smaller ranges of ports, or fewer addresses");
}

} // namespace

void check_listeners(const Config& config, Problems& problems)
{
    ListenerRules(config, problems).check();
    check_room(config, problems);
}

} // namespace featherlb
