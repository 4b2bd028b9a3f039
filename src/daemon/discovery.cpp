// SPDX-License-Identifier: Apache-2.0
#include "daemon/discovery.h"

#include <algorithm>
#include <utility>

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto together = 50ms; // names that are due within that are asked for at once

// By host; of a name that is there twice, the shorter one.
std::map<std::string, std::chrono::seconds> intervals_of(const Config& config)
{
    std::map<std::string, std::chrono::seconds> intervals;
    for (const ServiceConfig& service : config.services) {
        for (const BackendConfig& backend : service.backends) {
            const auto* name = std::get_if<DnsName>(&backend.target);
            if (name == nullptr)
                continue;
            const auto [entry, is_new] = intervals.emplace(name->host, name->interval);
            entry->second = std::min(entry->second, name->interval);
        }
    }
    return intervals;
}

} // namespace

Discovery::Discovery(Loop& loop, Log& log, Resolver& resolver, std::function<void()> on_change)
    : loop_(loop), log_(log), resolver_(resolver), on_change_(std::move(on_change))
{
}

void Discovery::follow(const Config& config, const Addresses& known, const std::set<std::string>& failed)
{
    const auto intervals = intervals_of(config);
    asked_.clear();
    std::erase_if(names_, [&intervals](const auto& entry) { return !intervals.contains(entry.first); });
    for (const auto& [host, interval] : intervals) {
        Name& name = names_[host];
        const auto addresses = known.find(host);
        name.state.set(addresses == known.end() ? std::vector<IpAddress>{} : addresses->second, failed.contains(host));
        name.interval = interval;
        name.due = loop_.now() + interval;
    }
    resume();
}

void Discovery::pause()
{
    ++round_;
    for (const std::string& host : std::exchange(asked_, {})) {
        if (const auto name = names_.find(host); name != names_.end())
            name->second.due = loop_.now(); // its answer will not count
    }
    timer_.reset();
}

void Discovery::resume()
{
    pause();
    schedule();
}

Discovery::Addresses Discovery::known() const
{
    Addresses all;
    for (const auto& [host, name] : names_) {
        if (!name.state.addresses().empty())
            all.emplace(host, name.state.addresses());
    }
    return all;
}

DnsAnswers Discovery::completed(DnsAnswers answers) const
{
    for (auto& [host, answer] : answers) {
        const auto name = names_.find(host);
        answer.addresses = name == names_.end() ? FollowedName().completed(std::move(answer.addresses))
                                                : name->second.state.completed(std::move(answer.addresses));
    }
    return answers;
}

void Discovery::schedule()
{
    if (names_.empty())
        return;
    const auto first = std::ranges::min_element(names_, {}, [](const auto& entry) { return entry.second.due; });
    timer_ = loop_.after(std::max<Loop::Clock::duration>(first->second.due - loop_.now(), 0ms), [this] { ask(); });
}

void Discovery::ask()
{
    timer_.reset();
    std::set<std::string> hosts;
    const auto now = loop_.now();
    for (auto& [host, name] : names_) {
        if (name.due > now + together)
            continue;
        hosts.insert(host);
        name.due = now + name.interval;
    }
    asked_ = hosts;
    const std::uint64_t round = ++round_;
    resolver_.resolve(hosts, [this, round](const DnsAnswers& answers) {
        if (round == round_)
            on_answers(answers);
    });
}

void Discovery::on_answers(const DnsAnswers& answers)
{
    bool changed = false;
    asked_.clear();
    for (const auto& [host, answer] : answers) {
        const auto name = names_.find(host);
        if (name == names_.end())
            continue;
        const FollowedName::Step step = name->second.state.take(host, answer, loop_.now(), name->second.interval);
        if (!step.news.empty())
            log_.info("{}", step.news);
        if (!step.warning.empty())
            log_.warning("{}", step.warning);
        changed = changed || step.changed;
    }
    schedule();
    if (changed)
        on_change_();
}

} // namespace featherlb
