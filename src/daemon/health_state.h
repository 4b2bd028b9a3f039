// SPDX-License-Identifier: Apache-2.0
// HealthState: what the checks of one backend, one after another, say about it. A backend is up until `fall` checks in
// a row have failed, and down until `rise` in a row were good; a check that is discarded says nothing. Pure: no clock,
// no network.
//
// One that goes down again and again, and is never good for `steady_after` checks in a row between, flaps: from the
// `falls_until_flapping`th fall on it needs 10 good checks in a row to come up, after each more fall twice as many, at
// most `steady_after` (`rise` where that is more). So its share of the tables does not come and go with it. The idea of
// a penalty that grows with each change is that of route flap damping (RFC 2439), counted in checks instead of time.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace featherlb {

struct CheckResult {
    enum class Kind {
        good,
        failed,
        discarded // nothing can be learned from it: the daemon was late, or could not ask
    };
    Kind kind = Kind::good;
    std::string reason; // why it is not good: "connection refused"
    double seconds = 0; // that it took
};

[[nodiscard]] inline CheckResult failed_check(std::string reason)
{
    return {CheckResult::Kind::failed, std::move(reason)};
}

class HealthState {
public:
    // `down`: as a daemon before this one left it.
    explicit HealthState(bool down = false) : down_(down) {}

    enum class Change { none, went_up, went_down };
    Change take(const CheckResult& result, std::uint32_t rise, std::uint32_t fall);

    [[nodiscard]] bool down() const { return down_; }
    // Checks in a row that spoke against what is held now.
    [[nodiscard]] std::uint32_t against() const { return against_; }
    [[nodiscard]] bool flapping() const { return falls_ >= falls_until_flapping; }
    // Good checks in a row that bring it up, while it is down.
    [[nodiscard]] std::uint32_t needed(std::uint32_t rise) const;

    static constexpr std::uint32_t falls_until_flapping = 3;
    static constexpr std::uint32_t steady_after = 60;
    [[nodiscard]] const std::string& last_failure() const { return last_failure_; } // empty: none has failed
    [[nodiscard]] std::uint64_t good() const { return good_; }
    [[nodiscard]] std::uint64_t failed() const { return failed_; }
    [[nodiscard]] std::uint64_t discarded() const { return discarded_; }
    [[nodiscard]] double seconds() const { return seconds_; } // that the good and the failed ones took

private:
    bool down_ = false;
    std::uint32_t against_ = 0;
    std::uint32_t falls_ = 0;  // since it was steady
    std::uint32_t steady_ = 0; // good checks in a row while it is up
    std::string last_failure_;
    std::uint64_t good_ = 0;
    std::uint64_t failed_ = 0;
    std::uint64_t discarded_ = 0;
    double seconds_ = 0;
};

} // namespace featherlb
