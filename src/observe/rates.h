// SPDX-License-Identifier: Apache-2.0
// Rates: what happens a second, from one status to the next, and how that went on. Counters that fall (the daemon has
// begun anew) give a rate of zero for that once. Pure: the clock is the caller's.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "observe/status.h"

namespace featherlb {

// A second, on average since the status before.
struct Rate {
    double connections = 0;
    double packets_in = 0; // from clients
    double packets_out = 0;
    double bytes_in = 0;
    double bytes_out = 0;

    [[nodiscard]] double packets() const { return packets_in + packets_out; }
    [[nodiscard]] double bits() const { return 8 * (bytes_in + bytes_out); }
    Rate& operator+=(const Rate& other);
};

struct DropRate {
    std::string reason;
    double packets = 0; // a second
};

class Rates {
public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::size_t longest_history = 240; // samples

    void take(Status status, Clock::time_point now);

    [[nodiscard]] const Status& status() const { return status_; }
    [[nodiscard]] double seconds() const { return seconds_; } // between the last two; 0: there is one only
    [[nodiscard]] Rate of(const ServiceStatus& service) const;
    [[nodiscard]] Rate of(const ServiceStatus& service, const BackendStatus& backend) const;
    [[nodiscard]] const Rate& all() const { return all_; }
    [[nodiscard]] const std::vector<DropRate>& drops() const
    {
        return drops_;
    } // the most first; those of none left out
    // Packets a second, the oldest first.
    [[nodiscard]] const std::deque<double>& history() const { return all_history_; }
    [[nodiscard]] const std::deque<double>& history(const ServiceStatus& service) const;
    [[nodiscard]] static std::uint64_t open(const ServiceStatus& service);

private:
    struct Counted {
        TrafficStatus last;
        Rate rate;
        std::deque<double> history; // of services
    };
    void count(Counted& counted, bool known, const TrafficStatus& now) const;
    void take_drops();

    Status status_;
    Clock::time_point at_{};
    double seconds_ = 0;
    std::map<std::string, Counted, std::less<>> counted_; // "service", "service\nbackend\naddress"
    Rate all_;
    std::deque<double> all_history_;
    std::map<std::string, std::uint64_t> dropped_;
    std::vector<DropRate> drops_;
};

// One object of `top --json`; without spaces.
[[nodiscard]] std::string write_rates(const Rates& rates, std::string_view at);

} // namespace featherlb
