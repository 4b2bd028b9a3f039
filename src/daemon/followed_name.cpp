// SPDX-License-Identifier: Apache-2.0
#include "daemon/followed_name.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace featherlb {

namespace {

constexpr std::size_t most_shown = 8;

std::string list(const std::vector<IpAddress>& addresses)
{
    std::vector<std::string> texts;
    for (const IpAddress& address : addresses) {
        if (texts.size() == most_shown)
            return fmt::format("{} and {} more", fmt::join(texts, ", "), addresses.size() - most_shown);
        texts.push_back(address.to_string());
    }
    return fmt::format("{}", fmt::join(texts, ", "));
}

} // namespace

void FollowedName::set(std::vector<IpAddress> addresses, bool failing)
{
    if (!restless_)
        answer_ = addresses;
    addresses_ = std::move(addresses);
    failing_ = failing;
}

std::vector<IpAddress> FollowedName::completed(std::vector<IpAddress> answer) const
{
    if (restless_ && !answer.empty()) {
        answer.insert(answer.end(), addresses_.begin(), addresses_.end());
        std::ranges::sort(answer);
        answer.erase(std::unique(answer.begin(), answer.end()), answer.end());
    }
    if (answer.size() > most_addresses)
        answer.resize(most_addresses);
    return answer;
}

FollowedName::Step FollowedName::take(
    const std::string& host, const DnsAnswer& answer, Time now, Loop::Clock::duration interval)
{
    const Loop::Clock::duration memory =
        std::max<Loop::Clock::duration>(shortest_memory, interval * static_cast<int>(most_changes + 1));
    Step step;
    if (answer.addresses.empty()) {
        if (!std::exchange(failing_, true))
            step.warning = fmt::format("{} does not resolve ({}); its last known addresses stay", host, answer.problem);
        return step;
    }
    const bool again = std::exchange(failing_, false);
    if (again)
        step.news = fmt::format("{} resolves again", host);
    if (again)
        for (auto& [address, when] : seen_) // what was not asked for, or not answered, is not forgotten
            when = now;
    std::vector<IpAddress> target = wanted(answer.addresses, now, memory);
    if (target == addresses_)
        return step;
    while (!changes_.empty() && now - changes_.front() >= memory)
        changes_.pop_front();
    if (changes_.size() >= most_changes) {
        if (!std::exchange(restless_, true))
            step.warning = fmt::format("{} changes all the time: until it keeps still for {} s, it stands for all "
                                       "addresses that it had within so long",
                host, std::chrono::duration_cast<std::chrono::seconds>(memory).count());
        return step;
    }
    changes_.push_back(now);
    addresses_ = std::move(target);
    step.changed = true;
    if (!restless_)
        step.news = fmt::format("{}{} is now {}", host, again ? " resolves again and" : "", list(addresses_));
    return step;
}

std::vector<IpAddress> FollowedName::wanted(
    const std::vector<IpAddress>& answer, Time now, Loop::Clock::duration memory)
{
    if (answer != answer_) {
        answer_ = answer;
        answer_since_ = now;
    }
    if (restless_ && now - answer_since_ >= memory)
        restless_ = false;
    for (const IpAddress& address : answer)
        seen_[address] = now;
    std::erase_if(seen_, [now, memory](const auto& entry) { return now - entry.second >= memory; });
    std::vector<IpAddress> all = answer;
    if (restless_) {
        all.clear();
        for (const auto& [address, when] : seen_)
            all.push_back(address);
    }
    if (all.size() > most_addresses)
        all.resize(most_addresses);
    return all;
}

} // namespace featherlb
