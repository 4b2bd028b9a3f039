// SPDX-License-Identifier: Apache-2.0
// AgentReport: what an agent on a backend says, in the protocol of HAProxy's agent checks: one line of words between
// spaces, tabs or commas, in any order; of several words of a kind the last counts; what is not named does not change.
//
//     75%                       of its weight (0 to 200; more counts as 200)
//     up                        ends down
//     down, fail, stopped       takes no connections, as if its check had failed; "failed" is the same
//     ready                     ends drain and maint
//     drain, maint              takes no new connections, keeps those it has
//     maxconn:N                 is not used here
//     # text                    why; to the end of the line
//
// Upper and lower case are the same. The line ends at CR or LF, or where the connection does. A line that is empty, too
// long, or has any other word counts as no report at all. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <tl/expected.hpp>

namespace featherlb {

inline constexpr std::size_t longest_agent_line = 255;
inline constexpr std::uint32_t most_agent_percent = 200;

struct AgentReport {
    enum class Admin { ready, drain, maint };

    std::optional<std::uint32_t> percent;
    std::optional<bool> up;
    std::optional<Admin> admin;
    std::string word;   // for `up`, as it was written: "stopped"
    std::string reason; // behind '#', as it came: quote it
    bool above_most = false;
    bool has_maxconn = false;
};

using AgentLine = tl::expected<AgentReport, std::string>; // or what is wrong with it

[[nodiscard]] AgentLine parse_agent_line(std::string_view line);

// The first line of what has come so far; nothing while it may go on. `ended`: no more will come.
[[nodiscard]] std::optional<AgentLine> judge_agent(std::string_view received, bool ended);

} // namespace featherlb
