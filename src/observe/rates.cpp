// SPDX-License-Identifier: Apache-2.0
#include "observe/rates.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

namespace featherlb {

namespace {

std::string key_of(const ServiceStatus& service, const BackendStatus& backend)
{
    return service.name + '\n' + backend.name + '\n' + backend.address;
}

TrafficStatus traffic_of(const BackendStatus& backend)
{
    return {.connections = backend.connections,
        .packets_in = backend.packets_in,
        .packets_out = backend.packets_out,
        .bytes_in = backend.bytes_in,
        .bytes_out = backend.bytes_out};
}

double per_second(std::uint64_t before, std::uint64_t after, double seconds)
{
    return after > before ? static_cast<double>(after - before) / seconds : 0;
}

void remember(std::deque<double>& history, double value)
{
    history.push_back(value);
    if (history.size() > Rates::longest_history)
        history.pop_front();
}

nlohmann::json to_json(const Rate& rate)
{
    return {{"connections", rate.connections}, {"packets_in", rate.packets_in}, {"packets_out", rate.packets_out},
        {"bytes_in", rate.bytes_in}, {"bytes_out", rate.bytes_out}};
}

} // namespace

Rate& Rate::operator+=(const Rate& other)
{
    connections += other.connections;
    packets_in += other.packets_in;
    packets_out += other.packets_out;
    bytes_in += other.bytes_in;
    bytes_out += other.bytes_out;
    return *this;
}

std::uint64_t Rates::open(const ServiceStatus& service)
{
    std::uint64_t open = 0;
    for (const BackendStatus& backend : service.backends)
        open += backend.open;
    return open;
}

void Rates::count(Counted& counted, bool known, const TrafficStatus& now) const
{
    const TrafficStatus before = std::exchange(counted.last, now);
    if (!known || seconds_ <= 0) {
        counted.rate = {};
        return;
    }
    counted.rate = {.connections = per_second(before.connections, now.connections, seconds_),
        .packets_in = per_second(before.packets_in, now.packets_in, seconds_),
        .packets_out = per_second(before.packets_out, now.packets_out, seconds_),
        .bytes_in = per_second(before.bytes_in, now.bytes_in, seconds_),
        .bytes_out = per_second(before.bytes_out, now.bytes_out, seconds_)};
}

void Rates::take(Status status, Clock::time_point now)
{
    const bool first = at_ == Clock::time_point{};
    seconds_ = first ? 0 : std::chrono::duration<double>(now - std::exchange(at_, now)).count();
    at_ = now;
    status_ = std::move(status);
    std::map<std::string, Counted, std::less<>> counted;
    const auto counted_of = [&](std::string key, const TrafficStatus& traffic) -> Counted& {
        auto old = counted_.extract(key);
        const bool known = !old.empty();
        Counted& one = known ? counted.insert(std::move(old)).position->second : counted[std::move(key)];
        count(one, known, traffic);
        return one;
    };
    all_ = {};
    for (const ServiceStatus& service : status_.services) {
        Counted& one = counted_of(service.name, service.traffic);
        all_ += one.rate;
        if (!first)
            remember(one.history, one.rate.packets());
        for (const BackendStatus& backend : service.backends)
            counted_of(key_of(service, backend), traffic_of(backend));
    }
    counted_ = std::move(counted); // who is gone is forgotten
    if (!first)
        remember(all_history_, all_.packets());
    take_drops();
}

void Rates::take_drops()
{
    std::map<std::string, std::uint64_t> dropped;
    drops_.clear();
    for (const DropStatus& drop : status_.drops) {
        const auto before = dropped_.find(drop.reason);
        const double rate =
            seconds_ > 0 ? per_second(before == dropped_.end() ? 0 : before->second, drop.packets, seconds_) : 0;
        if (rate > 0)
            drops_.push_back({.reason = drop.reason, .packets = rate});
        dropped.emplace(drop.reason, drop.packets);
    }
    dropped_ = std::move(dropped);
    std::ranges::stable_sort(drops_, std::greater<>{}, &DropRate::packets);
}

Rate Rates::of(const ServiceStatus& service) const
{
    const auto found = counted_.find(service.name);
    return found == counted_.end() ? Rate{} : found->second.rate;
}

Rate Rates::of(const ServiceStatus& service, const BackendStatus& backend) const
{
    const auto found = counted_.find(key_of(service, backend));
    return found == counted_.end() ? Rate{} : found->second.rate;
}

const std::deque<double>& Rates::history(const ServiceStatus& service) const
{
    static const std::deque<double> none;
    const auto found = counted_.find(service.name);
    return found == counted_.end() ? none : found->second.history;
}

std::string write_rates(const Rates& rates, std::string_view at)
{
    const Status& status = rates.status();
    nlohmann::json services = nlohmann::json::array();
    std::uint64_t open = 0;
    for (const ServiceStatus& service : status.services) {
        nlohmann::json backends = nlohmann::json::array();
        for (const BackendStatus& backend : service.backends)
            backends.push_back({{"name", backend.name}, {"address", backend.address}, {"state", backend.state},
                {"used", backend.used}, {"open", backend.open}, {"per_second", to_json(rates.of(service, backend))}});
        open += Rates::open(service);
        services.push_back(
            {{"name", service.name}, {"state", service.state}, {"panic", service.panic}, {"open", Rates::open(service)},
                {"per_second", to_json(rates.of(service))}, {"backends", std::move(backends)}});
    }
    nlohmann::json drops = nlohmann::json::object();
    for (const DropRate& drop : rates.drops())
        drops[drop.reason] = drop.packets;
    const nlohmann::json json{{"at", at}, {"seconds", rates.seconds()}, {"open", open},
        {"per_second", to_json(rates.all())}, {"drops_per_second", std::move(drops)},
        {"services", std::move(services)}};
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

} // namespace featherlb
