// SPDX-License-Identifier: Apache-2.0
#include "plan/tables.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace featherlb {

namespace {

constexpr std::string_view limit_remedy =
    "use fewer, or run `featherlb detach` and start anew: the maps get their size when they are made";

// One service in one IP version: what becomes a row of `services`.
struct Half {
    const ServiceConfig* config = nullptr;
    Family family = Family::ipv4;
    std::vector<ListenerKey> listeners; // in the order of the configuration
    struct Target {
        Endpoint endpoint;
        std::uint32_t weight = 1;
        BackendId id = 0;
    };
    std::vector<Target> targets; // in the order of the configuration, each endpoint once
    ServiceId id = 0;
    bool panic = false; // health is ignored
};

// Gives out the lowest ids that are not in `taken`. Ids that become free by this plan stay out of it: while the
// changes are applied, one place of a map never means two things.
template <typename Rows>
class FreshIds {
public:
    explicit FreshIds(const Rows& taken) : taken_(taken) {}
    std::uint32_t next()
    {
        while (taken_.contains(++last_)) {
        }
        return last_;
    }

private:
    const Rows& taken_;
    std::uint32_t last_ = 0; // 0 is no id
};

bool resolved(const flb_hop& hop)
{
    const auto not_zero = [](auto value) { return value != 0; };
    return hop.link != 0 || std::any_of(std::begin(hop.mac), std::end(hop.mac), not_zero);
}

flb_pick pick_of(Algorithm algorithm)
{
    switch (algorithm) {
    case Algorithm::round_robin:
    case Algorithm::weighted_round_robin:
        return FLB_PICK_TURN;
    case Algorithm::random:
        return FLB_PICK_RANDOM;
    case Algorithm::ip_hash:
        return FLB_PICK_HASH_ADDRESSES;
    case Algorithm::maglev:
        break;
    }
    return FLB_PICK_HASH_5TUPLE;
}

class Planner {
public:
    Planner(const Config& config, const World& world, const Tables& have, const std::set<BackendId>& unreferenced,
        const Limits& limits)
        : config_(config), world_(world), have_(have), unreferenced_(unreferenced), limits_(limits)
    {
    }

    Result<Tables> make()
    {
        want_.timeouts = config_.timeouts;
        want_.snat_ports = config_.snat.ports;
        collect_halves();
        claim_listeners();
        put_services();
        put_backends();
        keep_draining();
        end_overdue();
        if (auto error = exceeded_rows())
            return fail(std::move(*error));
        if (auto error = put_slots())
            return fail(std::move(*error));
        put_sources();
        return std::move(want_);
    }

private:
    void collect_halves();
    [[nodiscard]] std::vector<Endpoint> endpoints_of(const BackendConfig& backend) const;
    [[nodiscard]] std::vector<ListenerKey> expand(const ListenerConfig& listener, const ServiceConfig& service) const;
    void claim_listeners();
    void put_services();
    void put_backends();
    [[nodiscard]] bool is_down(const Half& half, const Endpoint& endpoint) const;
    [[nodiscard]] bool too_few_up(const Half& half) const;
    void judge(const Half& half, const Half::Target& target, BackendRow& row) const;
    void end_overdue();
    void keep_draining();
    void learn_way(BackendRow& row, Forward forward) const;
    [[nodiscard]] std::optional<Error> exceeded_rows() const;
    [[nodiscard]] std::optional<Error> put_slots();
    [[nodiscard]] std::vector<WeightedBackend> weighted(const Half& half) const;
    void put_sources();

    const Config& config_;
    const World& world_;
    const Tables& have_;
    const std::set<BackendId>& unreferenced_;
    const Limits& limits_;
    std::vector<Half> halves_;
    // Families in which a service has backends; absent: none is known at the moment.
    std::map<const ServiceConfig*, std::set<Family>> families_;
    Tables want_;
};

std::vector<Endpoint> Planner::endpoints_of(const BackendConfig& backend) const
{
    if (const auto* endpoint = std::get_if<Endpoint>(&backend.target))
        return {*endpoint};
    const auto& name = std::get<DnsName>(backend.target);
    const auto answer = world_.dns.find(name.host);
    std::vector<Endpoint> endpoints;
    if (answer == world_.dns.end())
        return endpoints;
    for (const IpAddress& address : answer->second)
        endpoints.push_back({address, name.port});
    return endpoints;
}

void Planner::collect_halves()
{
    for (const ServiceConfig& service : config_.services) {
        Half ipv4{.config = &service, .family = Family::ipv4, .listeners = {}, .targets = {}};
        Half ipv6{.config = &service, .family = Family::ipv6, .listeners = {}, .targets = {}};
        std::set<Endpoint> seen;
        for (const BackendConfig& backend : service.backends) {
            for (const Endpoint& endpoint : endpoints_of(backend)) {
                if (!seen.insert(endpoint).second)
                    continue;
                Half& half = endpoint.address.is_ipv4() ? ipv4 : ipv6;
                half.targets.push_back({.endpoint = endpoint, .weight = backend.weight});
                families_[&service].insert(half.family);
            }
        }
        halves_.push_back(std::move(ipv4));
        halves_.push_back(std::move(ipv6));
    }
}

// "*" stands for the local addresses of the families that the service has backends in; while it has none at all
// (its names have no answer) for all, so that its clients meet the service and not the host.
std::vector<ListenerKey> Planner::expand(const ListenerConfig& listener, const ServiceConfig& service) const
{
    if (listener.address)
        return {{*listener.address, listener.port, listener.protocol}};
    std::vector<ListenerKey> keys;
    const auto families = families_.find(&service);
    for (const IpAddress& address : world_.local_addresses) {
        const bool left_out = !address.is_ipv4() && address.is_link_local();
        if (!left_out && (families == families_.end() || families->second.contains(address.family())))
            keys.push_back({address, listener.port, listener.protocol});
    }
    return keys;
}

// An address that is written out goes before "*"; otherwise the first service in the file has it.
void Planner::claim_listeners()
{
    std::map<ListenerKey, const ServiceConfig*> owners;
    for (const bool written_out : {true, false}) {
        for (const ServiceConfig& service : config_.services) {
            for (const ListenerConfig& listener : service.listeners) {
                if (listener.address.has_value() != written_out)
                    continue;
                for (const ListenerKey& key : expand(listener, service))
                    owners.emplace(key, &service);
            }
        }
    }
    for (Half& half : halves_) {
        for (const ListenerConfig& listener : half.config->listeners) {
            for (const ListenerKey& key : expand(listener, *half.config)) {
                if (key.address.family() == half.family && owners.at(key) == half.config)
                    half.listeners.push_back(key);
            }
        }
    }
    std::erase_if(halves_, [](const Half& half) { return half.listeners.empty(); });
}

void Planner::put_services()
{
    std::map<std::pair<std::string_view, Family>, ServiceId> known;
    for (const auto& [id, row] : have_.services)
        known.emplace(std::pair{std::string_view{row.name}, row.family}, id);
    // Not one that rules were left for: until they are removed, they would be this service's.
    std::set<ServiceId> taken;
    for (const auto& [id, row] : have_.services)
        taken.insert(id);
    for (const auto& [id, rules] : have_.access)
        taken.insert(id);
    FreshIds fresh(taken);
    for (Half& half : halves_) {
        const auto old = known.find({half.config->name, half.family});
        half.id = old != known.end() ? old->second : fresh.next();
        const AdmissionConfig& admission = half.config->admission;
        const auto& access = admission.access[half.family == Family::ipv4 ? 0 : 1];
        const std::uint8_t affinity_prefix =
            half.family == Family::ipv4 ? address_bits(Family::ipv4) : admission.affinity.ipv6_prefix;
        want_.services.emplace(half.id, ServiceRow{.name = half.config->name,
                                            .family = half.family,
                                            .forward = half.config->forward,
                                            .pick = pick_of(half.config->algorithm),
                                            .pick_seed = config_.hash_seed,
                                            .affinity = admission.affinity.timeout,
                                            .affinity_prefix = affinity_prefix,
                                            .limits = admission.limits,
                                            .lists = access != nullptr,
                                            .slots = {},
                                            .syn_failover = half.config->failure.syn_failover,
                                            .avoid_refused = half.config->failure.avoid_refused});
        if (access)
            want_.access.emplace(half.id, access);
        for (const ListenerKey& key : half.listeners)
            want_.listeners.emplace(key, half.id);
    }
}

// Takes over from `have` what `row` holds there already; what World does not know of stays as it was.
void Planner::learn_way(BackendRow& row, Forward forward) const
{
    const auto way = world_.next_hops.find(row.endpoint.address);
    if (way != world_.next_hops.end()) {
        row.hop = way->second.hop;
        row.mtu = way->second.mtu;
    }
    if (forward != Forward::snat) {
        row.snat_addresses.clear();
        row.any_side = false;
        return;
    }
    std::vector<IpAddress> configured;
    for (const IpAddress& address : config_.snat.addresses) {
        if (address.family() == row.endpoint.address.family())
            configured.push_back(address);
    }
    if (!configured.empty())
        row.snat_addresses = std::move(configured);
    else if (way != world_.next_hops.end() && way->second.source)
        row.snat_addresses = {*way->second.source};
    if (way == world_.next_hops.end())
        return; // the hop stays as it was, and so does the side that its answers come by
    row.any_side = std::ranges::any_of(row.snat_addresses, [&](const IpAddress& address) {
        const auto home = world_.homes.find(address);
        return home == world_.homes.end() || home->second % FLB_IFACE_SLOTS != (row.hop.link & FLB_LINK_SLOT);
    });
}

bool Planner::is_down(const Half& half, const Endpoint& endpoint) const
{
    return world_.down.contains({half.config->name, endpoint});
}

bool Planner::too_few_up(const Half& half) const
{
    std::uint64_t all = 0;
    std::uint64_t up = 0;
    for (const Half::Target& target : half.targets) {
        all += target.weight > 0 ? 1 : 0;
        up += target.weight > 0 && !is_down(half, target.endpoint) ? 1 : 0;
    }
    const FailureConfig& failure = half.config->failure;
    return up * 100 < failure.min_healthy * all && (up > 0 || !failure.all_down);
}

// Whether a backend is used, and what becomes of its connections.
void Planner::judge(const Half& half, const Half::Target& target, BackendRow& row) const
{
    const FailureConfig& failure = half.config->failure;
    row.down = is_down(half, target.endpoint);
    const bool out = row.down && !half.panic;
    row.up = target.weight > 0 && !out;
    row.reset = out && failure.tcp == BackendDown::reset;
    row.rehash_tcp = out && failure.tcp == BackendDown::rehash;
    row.rehash_udp = out && failure.udp == BackendDown::rehash;
}

void Planner::put_backends()
{
    std::map<std::pair<ServiceId, Endpoint>, BackendId> known;
    for (const auto& [id, row] : have_.backends)
        known.emplace(std::pair{row.service, row.endpoint}, id);
    FreshIds fresh(have_.backends);
    for (Half& half : halves_) {
        half.panic = too_few_up(half);
        for (Half::Target& target : half.targets) {
            BackendRow row{.service = half.id, .endpoint = target.endpoint, .snat_addresses = {}};
            const auto old = known.find({half.id, target.endpoint});
            if (old != known.end())
                row = have_.backends.at(old->second);
            target.id = old != known.end() ? old->second : fresh.next();
            row.draining = target.weight == 0;
            judge(half, target, row);
            learn_way(row, half.config->forward);
            want_.backends.emplace(target.id, std::move(row));
        }
    }
}

// What the configuration no longer names stays until no flow refers to it, and a service until its last backend has
// gone. A backend that took connections until now stays in any case: it may have got one since the flows were counted.
void Planner::keep_draining()
{
    for (const auto& [id, old] : have_.backends) {
        const auto service = have_.services.find(old.service);
        const bool gone = (old.draining && unreferenced_.contains(id)) || service == have_.services.end();
        if (gone || want_.backends.contains(id))
            continue;
        BackendRow row = old;
        row.up = false;
        row.draining = true;
        const auto way = world_.next_hops.find(row.endpoint.address);
        if (way != world_.next_hops.end()) {
            row.hop = way->second.hop;
            row.mtu = way->second.mtu;
        }
        want_.backends.emplace(id, std::move(row));
        const auto [kept, is_new] = want_.services.emplace(old.service, service->second);
        if (is_new) {
            kept->second.slots.clear();
            kept->second.refuse = false;
            kept->second.lists = false; // nobody opens connections to it any more
        }
    }
}

// A UDP client whose drain is over goes on with another backend; there is nothing to tell it.
void Planner::end_overdue()
{
    for (auto& [id, row] : want_.backends) {
        if (row.draining && world_.overdue.contains(id)) {
            row.reset = true;
            row.rehash_tcp = false;
            row.rehash_udp = true;
        }
    }
}

std::optional<Error> Planner::exceeded_rows() const
{
    std::size_t prefixes = 0; // those that leave are removed after the new ones are there
    for (const Tables* tables : {&have_, &want_}) {
        for (const auto& [id, rules] : tables->access) {
            const auto old = have_.access.find(id);
            if (tables == &have_ || old == have_.access.end() || old->second != rules)
                prefixes += rules->size();
        }
    }
    if (prefixes > limits_.prefixes)
        return Error{
            fmt::format("{} networks in `allow` and `deny` lists, those that are being replaced included, need "
                        "more than the {} entries of the map `prefixes`",
                prefixes, limits_.prefixes),
            "use fewer and larger networks"};
    // Id 0 is not used; ids that this plan frees count as in use until the next one.
    const auto too_many = [](const auto& rows, std::uint32_t limit) {
        return !rows.empty() && rows.rbegin()->first >= limit;
    };
    if (too_many(want_.services, limits_.services))
        return Error{fmt::format("{} services (counted for each IP version) need more than the {} entries of the map "
                                 "`services`",
                         want_.services.size(), limits_.services),
            std::string(limit_remedy)};
    if (too_many(want_.backends, limits_.backends)) {
        const auto draining = std::count_if(
            want_.backends.begin(), want_.backends.end(), [](const auto& entry) { return entry.second.draining; });
        return Error{
            fmt::format("{} backends, {} of them draining, need more than the {} entries of the map `backends`",
                want_.backends.size(), draining, limits_.backends),
            std::string(limit_remedy)};
    }
    return std::nullopt;
}

// A backend whose next hop is not known cannot be reached now: others take its slots, unless there are no others.
std::vector<WeightedBackend> Planner::weighted(const Half& half) const
{
    std::vector<WeightedBackend> backends;
    bool any_reachable = false;
    for (const Half::Target& target : half.targets) {
        const BackendRow& row = want_.backends.at(target.id);
        const bool has_source = half.config->forward != Forward::snat || !row.snat_addresses.empty();
        const bool reachable = row.up && resolved(row.hop) && has_source;
        any_reachable = any_reachable || reachable;
        backends.push_back({.endpoint = target.endpoint, .id = target.id, .weight = target.weight, .up = reachable});
    }
    if (!any_reachable) {
        for (WeightedBackend& backend : backends)
            backend.up = want_.backends.at(backend.id).up;
    }
    return backends;
}

std::optional<Error> Planner::put_slots()
{
    std::vector<std::vector<WeightedBackend>> backends;
    std::uint64_t needed = 0;
    for (const Half& half : halves_) {
        backends.push_back(weighted(half));
        needed += count_slots(half.config->algorithm, backends.back());
    }
    if (needed > limits_.slots)
        return Error{fmt::format("the slot tables of all services need {} slots, more than the {} of the map `slots`",
                         needed, limits_.slots),
            "use round-robin, which needs one slot a backend, where maglev is not needed; " +
                std::string(limit_remedy)};
    for (std::size_t i = 0; i < halves_.size(); ++i) {
        ServiceRow& row = want_.services.at(halves_[i].id);
        row.slots = make_slots(halves_[i].config->algorithm, backends[i]);
        row.refuse = row.slots.empty() && halves_[i].config->failure.all_down == AllDown::refuse;
    }
    return std::nullopt;
}

// What a dnat backend sends without a flow leaves as the first listener of its protocol. Backends that drain from a
// service that still listens keep this, but one that is configured goes before them; else the first service has it.
void Planner::put_sources()
{
    std::map<ServiceId, std::vector<BackendId>> draining;
    for (const auto& [id, row] : want_.backends) {
        if (row.draining)
            draining[row.service].push_back(id);
    }
    const auto put = [this](const Half& half, BackendId id) {
        const Endpoint& own = want_.backends.at(id).endpoint;
        for (const ListenerKey& key : half.listeners)
            want_.sources.emplace(ListenerKey{own.address, own.port, key.protocol},
                SourceRow{.service = {key.address, key.port}, .backend = id});
    };
    for (const Half& half : halves_) {
        if (half.config->forward != Forward::dnat)
            continue;
        for (const Half::Target& target : half.targets)
            put(half, target.id);
    }
    for (const Half& half : halves_) {
        if (half.config->forward != Forward::dnat)
            continue;
        for (const BackendId id : draining[half.id])
            put(half, id);
    }
}

} // namespace

std::set<ServiceId> panicking(const Tables& tables)
{
    std::set<ServiceId> services;
    for (const auto& [id, row] : tables.backends) {
        if (row.down && row.up)
            services.insert(row.service);
    }
    return services;
}

Result<Tables> make_tables(const Config& config, const World& world, const Tables& have,
    const std::set<BackendId>& unreferenced, const Limits& limits)
{
    return Planner(config, world, have, unreferenced, limits).make();
}

} // namespace featherlb
