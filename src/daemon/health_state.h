// SPDX-License-Identifier: Apache-2.0
// HealthState: what the checks of one backend, one after another, say about it. A backend is up until `fall` checks in
// a row have failed, and down until `rise` in a row were good; a check that is discarded says nothing. Pure: no clock,
// no network.
#pragma once

#include <cstdint>
#include <string>

namespace featherlb {

struct CheckResult {
    enum class Kind {
        good,
        failed,
        discarded // nothing can be learned from it: the daemon was late, or could not ask
    };
    Kind kind = Kind::good;
    std::string reason; // why it is not good: "connection refused"
};

class HealthState {
public:
    // `down`: as a daemon before this one left it.
    explicit HealthState(bool down = false) : down_(down) {}

    enum class Change { none, went_up, went_down };
    Change take(const CheckResult& result, std::uint32_t rise, std::uint32_t fall);

    [[nodiscard]] bool down() const { return down_; }
    // Checks in a row that spoke against what is held now.
    [[nodiscard]] std::uint32_t against() const { return against_; }
    [[nodiscard]] const std::string& last_failure() const { return last_failure_; } // empty: none has failed
    [[nodiscard]] std::uint64_t good() const { return good_; }
    [[nodiscard]] std::uint64_t failed() const { return failed_; }
    [[nodiscard]] std::uint64_t discarded() const { return discarded_; }

private:
    bool down_ = false;
    std::uint32_t against_ = 0;
    std::string last_failure_;
    std::uint64_t good_ = 0;
    std::uint64_t failed_ = 0;
    std::uint64_t discarded_ = 0;
};

} // namespace featherlb
