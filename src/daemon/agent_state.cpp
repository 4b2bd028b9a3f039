// SPDX-License-Identifier: Apache-2.0
#include "daemon/agent_state.h"

#include <algorithm>
#include <cstdlib>

namespace featherlb {

namespace {

constexpr std::int64_t point = 100;
constexpr std::int64_t large = 25 * point; // a difference that counts at once
constexpr std::int64_t near = point;       // one that is none
constexpr std::uint32_t least_change = 2;  // points
constexpr std::uint32_t settled = 5;       // reports in a row that say the same

std::uint32_t distance(std::uint32_t a, std::uint32_t b)
{
    return a > b ? a - b : b - a;
}

} // namespace

bool AgentState::smooth(std::uint32_t reported)
{
    const std::int64_t target = reported * point;
    same_ = percent_ && reported == reported_ ? same_ + 1 : 1;
    reported_ = reported;
    const std::int64_t away = target - smoothed_;
    if (!percent_ || reported == 0 || std::abs(away) >= large || std::abs(away) < near)
        smoothed_ = target;
    else
        smoothed_ += away / 2;
    if (same_ >= settled)
        smoothed_ = target;
    const auto now = static_cast<std::uint32_t>((smoothed_ + point / 2) / point);
    const bool at_once = !percent_ || reported == 0 || *percent_ == 0 || same_ >= settled;
    if (!at_once && distance(now, *percent_) < least_change)
        return false;
    const bool changed = percent_ != now;
    percent_ = now;
    return changed;
}

bool AgentState::take(const AgentReport& report)
{
    using Admin = AgentReport::Admin;
    const bool was_down = down_;
    const bool was_drained = drained_;
    bool changed = silent_ || good_ == 0; // until now it had the part that the others have on average
    if (adopted_ || report.up)
        down_ = report.up && !*report.up;
    if (adopted_ || report.admin)
        drained_ = report.admin && *report.admin != Admin::ready;
    if (report.up)
        down_word_ = report.word;
    if (report.admin)
        admin_word_ = *report.admin == Admin::maint ? "maint" : "drain";
    if (silent_)
        percent_.reset();
    if (report.percent)
        changed = smooth(*report.percent) || changed;
    silent_ = false;
    adopted_ = false;
    reason_ = report.reason;
    failed_in_a_row_ = 0;
    ++good_;
    return changed || down_ != was_down || drained_ != was_drained;
}

void AgentState::fail(const std::string& reason)
{
    ++failed_;
    ++failed_in_a_row_;
    last_failure_ = reason;
}

bool AgentState::grow_silent()
{
    if (silent_)
        return false;
    silent_ = true;
    return true;
}

} // namespace featherlb
