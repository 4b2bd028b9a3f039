// SPDX-License-Identifier: Apache-2.0
// Wrong configurations as text with a mark: "§" stands right before the token that must be named. It is removed
// before the text is read, and gives the line and column that are expected, so that no test counts by hand.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/utf8.h"
#include "config/config.h"

namespace featherlb::config_test {

struct Marked {
    std::string text;
    Place place{1, 1};
};

inline Marked take_mark(std::string_view marked)
{
    static constexpr std::string_view mark = "§";
    Marked result;
    const std::size_t at = marked.find(mark);
    if (at == std::string_view::npos) {
        ADD_FAILURE() << "no mark in: " << marked;
        return result;
    }
    const std::string_view before = marked.substr(0, at);
    result.text = std::string(before) + std::string(marked.substr(at + mark.size()));
    result.place.line = 1 + static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n'));
    const std::size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    result.place.column = 1 + count_characters(before.substr(line_start));
    return result;
}

// All problems of a text, as format() prints them; "" if there is none.
inline std::string problems_of(std::string_view text)
{
    const auto config = parse_config(text, "f");
    return config ? "" : config.error().format();
}

// Exactly one problem, at the mark, whose parts contain what is given.
inline void expect_problem(std::string_view marked, std::string_view what, std::string_view remedy)
{
    const Marked expected = take_mark(marked);
    const auto config = parse_config(expected.text, "f");
    ASSERT_FALSE(config.has_value()) << "accepted:\n" << expected.text;
    const auto& problems = config.error().problems;
    ASSERT_EQ(problems.size(), 1u) << config.error().format() << "in:\n" << expected.text;
    EXPECT_EQ(problems[0].place.line, expected.place.line) << config.error().format() << expected.text;
    EXPECT_EQ(problems[0].place.column, expected.place.column) << config.error().format() << expected.text;
    EXPECT_THAT(problems[0].what, ::testing::HasSubstr(std::string(what)));
    EXPECT_THAT(problems[0].remedy, ::testing::HasSubstr(std::string(remedy)));
}

// A sound service, for texts whose problem is elsewhere.
inline const std::string web =
    R"(services: [{name: web, listen: "10.1.0.1:80/tcp", backends: [{address: "10.0.1.11:8080"}]}]
)";

// A service whose parts are given.
inline std::string service_with(std::string_view listen, std::string_view backends, std::string_view more = "")
{
    return "services:\n  - name: web\n    listen: " + std::string(listen) + "\n    backends: " + std::string(backends) +
           "\n" + std::string(more);
}
inline std::string listening(std::string_view listen)
{
    return service_with(listen, R"([{dns: "web.internal:8080"}])");
}
// A service with one more setting; `defaults`: lines before it.
inline std::string service_saying(const std::string& more, const std::string& defaults = "")
{
    return defaults + listening("\"*:80/tcp\"") + "    " + more + "\n";
}
inline std::string with_backend(std::string_view backend)
{
    return service_with(R"("*:80/tcp")", "\n      - " + std::string(backend));
}

inline Config sound(std::string_view text)
{
    const auto config = parse_config(text, "f");
    EXPECT_TRUE(config.has_value()) << problems_of(text) << text;
    return config.value_or(Config{});
}

} // namespace featherlb::config_test
