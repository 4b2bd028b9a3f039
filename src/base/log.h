// SPDX-License-Identifier: Apache-2.0
// The log: one line for each event, for the operator. Whoever logs gets a Log passed in, so that tests can look at
// the lines. Levels: debug (for developers), info (what was done), warning (works, but look at it), error (does not
// work). Writing never fails visibly and never blocks on more than the descriptor itself: a full disk loses lines,
// not packets. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/result.h"

namespace featherlb {

enum class LogLevel { debug, info, warning, error };
[[nodiscard]] std::string_view to_string(LogLevel level);
[[nodiscard]] std::optional<LogLevel> parse_log_level(std::string_view text);

class Log {
public:
    virtual ~Log() = default;

    template <typename... Args>
    void debug(fmt::format_string<Args...> format, Args&&... args)
    {
        write(LogLevel::debug, fmt::format(format, std::forward<Args>(args)...));
    }
    template <typename... Args>
    void info(fmt::format_string<Args...> format, Args&&... args)
    {
        write(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
    }
    template <typename... Args>
    void warning(fmt::format_string<Args...> format, Args&&... args)
    {
        write(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
    }
    template <typename... Args>
    void error(fmt::format_string<Args...> format, Args&&... args)
    {
        write(LogLevel::error, fmt::format(format, std::forward<Args>(args)...));
    }

    virtual void write(LogLevel level, const std::string& line) = 0;
};

// "message; remedy", or the message alone.
[[nodiscard]] std::string describe(const Error& error);

// Control characters (line feeds too) spelled out, so that an event stays one line whatever is quoted in it.
[[nodiscard]] std::string one_line(std::string_view text);

// Lines on standard error: "2026-01-31T12:00:00.000+0000 info ready". What is below `least` is left out.
[[nodiscard]] std::unique_ptr<Log> make_stderr_log(LogLevel least);

} // namespace featherlb
