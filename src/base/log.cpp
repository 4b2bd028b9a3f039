// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <array>
#include <utility>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace featherlb {

namespace {

constexpr std::array<std::pair<LogLevel, std::string_view>, 4> level_names{{
    {LogLevel::debug, "debug"},
    {LogLevel::info, "info"},
    {LogLevel::warning, "warning"},
    {LogLevel::error, "error"},
}};

spdlog::level::level_enum to_spdlog(LogLevel level)
{
    switch (level) {
    case LogLevel::debug:
        return spdlog::level::debug;
    case LogLevel::info:
        return spdlog::level::info;
    case LogLevel::warning:
        return spdlog::level::warn;
    case LogLevel::error:
        break;
    }
    return spdlog::level::err;
}

class StderrLog : public Log {
public:
    explicit StderrLog(LogLevel least) : logger_("featherlb", std::make_shared<spdlog::sinks::stderr_sink_mt>())
    {
        logger_.set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
        logger_.set_level(to_spdlog(least));
        logger_.flush_on(spdlog::level::debug);
        // Nowhere is left to complain about a log that cannot be written.
        logger_.set_error_handler([](const std::string&) {});
    }

    void write(LogLevel level, const std::string& line) override
    {
        logger_.log(to_spdlog(level), spdlog::string_view_t(one_line(line)));
    }

private:
    spdlog::logger logger_;
};

} // namespace

std::string_view to_string(LogLevel level)
{
    for (const auto& [value, name] : level_names) {
        if (value == level)
            return name;
    }
    return "unknown";
}

std::optional<LogLevel> parse_log_level(std::string_view text)
{
    for (const auto& [value, name] : level_names) {
        if (name == text)
            return value;
    }
    return std::nullopt;
}

std::string describe(const Error& error)
{
    return error.remedy.empty() ? error.message : error.message + "; " + error.remedy;
}

std::string one_line(std::string_view text)
{
    std::string line;
    line.reserve(text.size());
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f)
            line += fmt::format("\\x{:02x}", byte);
        else
            line += c;
    }
    return line;
}

std::unique_ptr<Log> make_stderr_log(LogLevel least)
{
    return std::make_unique<StderrLog>(least);
}

} // namespace featherlb
