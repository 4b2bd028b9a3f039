// SPDX-License-Identifier: Apache-2.0
#include "plan/tables.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "plan/half.h"
#include "plan/listeners.h"
#include "plan/loads.h"
#include "plan/partial.h"
#include "plan/shares.h"

namespace featherlb {

namespace {

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

std::optional<Forward> one_way_of(Forward forward)
{
    return is_one_way(forward) ? std::optional(forward) : std::nullopt;
}

flb_pick pick_of(Algorithm algorithm)
{
    switch (algorithm) {
    case Algorithm::round_robin:
    case Algorithm::weighted_round_robin:
    case Algorithm::resource_based:
        return FLB_PICK_TURN;
    case Algorithm::random:
        return FLB_PICK_RANDOM;
    case Algorithm::ip_hash:
        return FLB_PICK_HASH_ADDRESSES;
    case Algorithm::least_connections:
    case Algorithm::weighted_least_connections:
        return FLB_PICK_LEAST;
    case Algorithm::power_of_two:
        return FLB_PICK_TWO;
    case Algorithm::weighted_response_time:
        return FLB_PICK_RESPONSE;
    case Algorithm::maglev:
        break;
    }
    return FLB_PICK_HASH_5TUPLE;
}

class Planner {
public:
    Planner(const Config& config, const World& world, const Tables& have, const std::set<BackendId>& unreferenced,
        const Limits& limits, const ServiceNames* only)
        : config_(config), world_(world), have_(have), unreferenced_(unreferenced), limits_(limits), only_(only)
    {
    }

    Result<Tables> make()
    {
        want_.timeouts = config_.timeouts;
        want_.snat_ports = config_.snat.ports;
        collect_halves();
        if (auto error = claim_listeners(world_, limits_, halves_))
            return fail(std::move(*error));
        put_services();
        put_backends();
        keep_draining();
        end_overdue();
        if (auto error = exceeded_rows())
            return fail(std::move(*error));
        if (auto error = exceeded_listeners(have_, limits_, want_))
            return fail(std::move(*error));
        if (auto error = put_slots(halves_, have_, limits_, want_))
            return fail(std::move(*error));
        if (auto error = put_sources(halves_, have_, limits_, want_))
            return fail(std::move(*error));
        return std::move(want_);
    }

private:
    void collect_halves();
    [[nodiscard]] std::vector<Endpoint> endpoints_of(const BackendConfig& backend) const;
    void put_services();
    void put_backends();
    [[nodiscard]] bool is_down(const Half& half, const Endpoint& endpoint) const;
    [[nodiscard]] bool too_few_up(const Half& half) const;
    void judge(const Half& half, const Half::Target& target, BackendRow& row) const;
    void end_overdue();
    void keep_draining();
    void learn_hop(BackendRow& row) const;
    void learn_way(BackendRow& row, Forward forward) const;
    [[nodiscard]] std::optional<Error> exceeded_rows() const;

    const Config& config_;
    const World& world_;
    const Tables& have_;
    const std::set<BackendId>& unreferenced_;
    const Limits& limits_;
    const ServiceNames* only_;
    std::vector<Half> halves_;
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
        if (only_ != nullptr && !only_->contains(service.name))
            continue;
        Half ipv4{.config = &service, .family = Family::ipv4, .listeners = {}, .targets = {}};
        Half ipv6{.config = &service, .family = Family::ipv6, .listeners = {}, .targets = {}};
        std::set<Endpoint> seen;
        for (const BackendConfig& backend : service.backends) {
            for (const Endpoint& endpoint : endpoints_of(backend)) {
                if (!seen.insert(endpoint).second)
                    continue;
                for (Half* half : {&ipv4, &ipv6}) {
                    if (half->family != endpoint.address.family() && service.forward != Forward::ipip)
                        continue;
                    half->targets.push_back(target_of(service, backend, endpoint, world_));
                }
            }
        }
        for (Half* half : {&ipv4, &ipv6}) {
            settle_backups(*half);
            halves_.push_back(std::move(*half));
        }
    }
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
                                            .measure = half.config->measure,
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

// What World does not know of stays as it was.
void Planner::learn_hop(BackendRow& row) const
{
    const auto way = world_.next_hops.find(row.endpoint.address);
    if (way == world_.next_hops.end())
        return;
    row.hop = row.one_way == Forward::dsr && way->second.gateway ? flb_hop{} : way->second.hop;
    row.mtu = way->second.mtu;
}

// Takes over from `have` what `row` holds there already.
void Planner::learn_way(BackendRow& row, Forward forward) const
{
    learn_hop(row);
    row.source_bits = 0;
    if (forward == Forward::dnat || forward == Forward::dsr) {
        row.snat_addresses.clear();
        row.any_side = false;
        return;
    }
    const auto way = world_.next_hops.find(row.endpoint.address);
    std::vector<IpAddress> configured;
    if (forward == Forward::snat) {
        for (const IpAddress& address : config_.snat.addresses) {
            if (address.family() == row.endpoint.address.family())
                configured.push_back(address);
        }
    } else if (const auto& network = config_.ipip.source[row.endpoint.address.is_ipv4() ? 0 : 1]) {
        configured = {network->address};
        row.source_bits = network->bits == address_bits(network->address.family()) ? std::uint8_t{0} : network->bits;
    }
    if (!configured.empty())
        row.snat_addresses = std::move(configured);
    else if (way != world_.next_hops.end() && way->second.source)
        row.snat_addresses = {*way->second.source};
    if (forward == Forward::ipip)
        row.any_side = false;
    if (way == world_.next_hops.end() || forward == Forward::ipip)
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
    bool backup_up = false;
    for (const Half::Target& target : half.targets) {
        const bool takes = target.weight > 0 && !target.drained;
        const bool is_up = takes && !is_down(half, target.endpoint);
        backup_up = backup_up || (target.backup && is_up);
        all += takes && !target.backup ? 1 : 0;
        up += is_up && !target.backup ? 1 : 0;
    }
    const FailureConfig& failure = half.config->failure;
    return up * 100 < failure.min_healthy * all && (up > 0 || (!failure.all_down && !backup_up));
}

// Whether a backend is used, and what becomes of its connections.
void Planner::judge(const Half& half, const Half::Target& target, BackendRow& row) const
{
    const FailureConfig& failure = half.config->failure;
    row.down = is_down(half, target.endpoint);
    const bool out = row.down && !half.panic;
    row.up = target.weight > 0 && !target.drained && !out;
    row.reset = out && failure.tcp == BackendDown::reset;
    row.rehash_tcp = out && failure.tcp == BackendDown::rehash;
    row.rehash_udp = out && failure.udp == BackendDown::rehash;
}

void Planner::put_backends()
{
    std::map<std::tuple<ServiceId, Endpoint, std::optional<Forward>>, BackendId> known;
    for (const auto& [id, row] : have_.backends)
        known.emplace(std::tuple{row.service, row.endpoint, row.one_way}, id);
    FreshIds fresh(have_.backends);
    for (Half& half : halves_) {
        half.panic = too_few_up(half);
        for (Half::Target& target : half.targets) {
            const auto one_way = one_way_of(half.config->forward);
            BackendRow row{.service = half.id, .endpoint = target.endpoint, .one_way = one_way, .snat_addresses = {}};
            const auto old = known.find({half.id, target.endpoint, one_way});
            if (old != known.end())
                row = have_.backends.at(old->second);
            target.id = old != known.end() ? old->second : fresh.next();
            row.draining = target.weight == 0 || target.drained;
            row.weight = weight_now(target);
            row.load_weight = load_weight_of(half.config->algorithm, row.weight);
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
        learn_hop(row);
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
    return Planner(config, world, have, unreferenced, limits, nullptr).make();
}

Result<Tables> make_tables(const Config& config, const World& world, const Tables& have,
    const std::set<BackendId>& unreferenced, const Limits& limits, const ServiceNames& only)
{
    return Planner(config, world, have, unreferenced, limits, &only).make();
}

} // namespace featherlb
