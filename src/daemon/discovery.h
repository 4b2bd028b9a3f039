// SPDX-License-Identifier: Apache-2.0
// Discovery: looks the DNS names of a configuration up again and again, each at its interval, and keeps what they stand
// for. What came of it is FollowedName's to say.
//
// Thread rule: the loop's thread. Loop, log and resolver must outlive it. The resolver answers one request at a time:
// who needs it otherwise calls pause() first, and follow() or resume() afterwards.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/followed_name.h"
#include "daemon/resolver.h"

namespace featherlb {

class Discovery {
public:
    using Addresses = std::map<std::string, std::vector<IpAddress>>;

    // `on_change`: known() is different. It may call pause(), follow() and resume().
    Discovery(Loop& loop, Log& log, Resolver& resolver, std::function<void()> on_change);

    // From now on the names of this configuration; `known`: what a load has just found them to stand for, with those
    // that `failed` as they were before.
    void follow(const Config& config, const Addresses& known, const std::set<std::string>& failed);
    void pause();
    void resume();

    [[nodiscard]] Addresses known() const;
    // Answers that somebody else has got, as the names count now: see FollowedName::completed.
    [[nodiscard]] DnsAnswers completed(DnsAnswers answers) const;

private:
    struct Name {
        FollowedName state;
        Loop::Clock::duration interval{};
        Loop::Clock::time_point due{};
    };
    void schedule();
    void ask();
    void on_answers(const DnsAnswers& answers);

    Loop& loop_;
    Log& log_;
    Resolver& resolver_;
    std::function<void()> on_change_;
    std::map<std::string, Name> names_;
    std::set<std::string> asked_; // and not answered yet
    std::uint64_t round_ = 0;     // of questions: answers to an older one do not count
    Handle timer_;
};

} // namespace featherlb
