// SPDX-License-Identifier: Apache-2.0
// AgentState: what the reports of one backend's agent, one after another, come to. Pure: no clock, no network.
//
// A percentage is a measurement: it is smoothed, and grows old. A report that differs by 25 points or more counts at
// once, and so does 0; a smaller difference is halved with each report. What the tables go by changes when that is 2
// points or more away, or when the agent has said the same five times: then it is exactly what the agent says.
// Up and down, ready, drain and maint are decisions: they count at once, and stand until the agent takes them back,
// however long it is silent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/agent_report.h"

namespace featherlb {

class AgentState {
public:
    AgentState() = default;
    // As the tables of an earlier daemon have it; holds until the first report, whatever that says.
    AgentState(bool down, bool drained) : down_(down), drained_(drained), adopted_(down || drained) {}

    // True: the tables have to change.
    bool take(const AgentReport& report);
    void fail(const std::string& reason);
    void discard() { ++discarded_; }
    // It has not reported for too long. True: the tables have to change.
    bool grow_silent();

    // What its backend shall have of its weight; nothing: it has not said, or too long ago.
    [[nodiscard]] std::optional<std::uint32_t> percent() const { return silent_ ? std::nullopt : percent_; }
    [[nodiscard]] bool down() const { return down_; }
    [[nodiscard]] bool drained() const { return drained_; }
    [[nodiscard]] bool heard() const { return good_ > 0; }
    [[nodiscard]] bool silent() const { return silent_; }
    // "maint", "stopped", ...; empty while it takes connections, or an earlier daemon heard it.
    [[nodiscard]] const std::string& word() const { return drained_ ? admin_word_ : down_ ? down_word_ : none_; }
    [[nodiscard]] const std::string& reason() const { return reason_; } // of the last report
    [[nodiscard]] std::uint32_t failed_in_a_row() const { return failed_in_a_row_; }
    [[nodiscard]] const std::string& last_failure() const { return last_failure_; }
    [[nodiscard]] std::uint64_t good() const { return good_; }
    [[nodiscard]] std::uint64_t failed() const { return failed_; }
    [[nodiscard]] std::uint64_t discarded() const { return discarded_; }

private:
    bool smooth(std::uint32_t reported);

    std::optional<std::uint32_t> percent_; // as the tables have it
    std::int64_t smoothed_ = 0;            // in hundredths
    std::uint32_t reported_ = 0;           // last
    std::uint32_t same_ = 0;               // so often in a row
    bool down_ = false;
    bool drained_ = false;
    bool adopted_ = false;
    bool silent_ = false;
    std::string none_;
    std::string down_word_;
    std::string admin_word_;
    std::string reason_;
    std::uint32_t failed_in_a_row_ = 0;
    std::string last_failure_;
    std::uint64_t good_ = 0;
    std::uint64_t failed_ = 0;
    std::uint64_t discarded_ = 0;
};

} // namespace featherlb
