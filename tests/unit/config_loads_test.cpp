// SPDX-License-Identifier: Apache-2.0
// Algorithms that compare backends, and `measure`.
#include <fmt/format.h>

#include "unit/config_cases.h"

namespace featherlb {
namespace {

using config_test::expect_problem;
using config_test::problems_of;
using config_test::sound;

std::string service_text(const std::string& settings, const std::string& weight = "")
{
    return "services:\n  - name: web\n    listen: \"10.1.0.1:80/tcp\"\n" + settings +
           "    backends: [{address: \"10.0.1.11:8080\"" + weight + "}]\n";
}

ServiceConfig read(const std::string& text)
{
    return sound(text).services.at(0);
}

TEST(ConfigLoads, have_words_of_their_own)
{
    EXPECT_EQ(read(service_text("    algorithm: least-connections\n")).algorithm, Algorithm::least_connections);
    EXPECT_EQ(read(service_text("    algorithm: weighted-least-connections\n")).algorithm,
        Algorithm::weighted_least_connections);
    EXPECT_EQ(read(service_text("    algorithm: power-of-two\n")).algorithm, Algorithm::power_of_two);
    EXPECT_EQ(
        read(service_text("    algorithm: weighted-response-time\n")).algorithm, Algorithm::weighted_response_time);
}

TEST(ConfigLoads, take_weights_but_for_the_plain_one)
{
    for (const std::string word : {"weighted-least-connections", "power-of-two", "weighted-response-time"})
        EXPECT_EQ(problems_of(service_text("    algorithm: " + word + "\n", ", weight: 3")), "");
    expect_problem(service_text("    algorithm: least-connections\n", ", weight: §3"),
        "least-connections does not use weights, and this one is 3",
        "write algorithm: weighted-least-connections, or remove the weight");
    EXPECT_EQ(problems_of(service_text("    algorithm: least-connections\n", ", weight: 1")), "");
}

TEST(ConfigLoads, compare_no_more_backends_than_the_kernel_looks_at)
{
    const auto with = [](unsigned backends, const std::string& algorithm) {
        std::string text = "services:\n  - name: web\n    listen: \"10.1.0.1:80/tcp\"\n    algorithm: " + algorithm +
                           "\n    backends:\n";
        for (unsigned n = 0; n < backends; n++)
            text += fmt::format("      - {{address: \"10.2.{}.{}:80\"}}\n", n / 250, n % 250 + 1);
        return text;
    };
    EXPECT_EQ(problems_of(with(1024, "least-connections")), "");
    EXPECT_EQ(problems_of(with(1025, "maglev")), "");
    EXPECT_THAT(problems_of(with(1025, "power-of-two")),
        ::testing::HasSubstr("1025 backends, and power-of-two compares at most 1024 of one IP version"));
}

TEST(ConfigMeasure, is_the_first_byte_where_the_algorithm_goes_by_it_and_else_nothing)
{
    EXPECT_EQ(read(service_text("")).measure, Measure::none);
    EXPECT_EQ(read(service_text("    algorithm: weighted-response-time\n")).measure, Measure::first_byte);
    EXPECT_EQ(read("defaults: {measure: handshake}\n" + service_text("")).measure, Measure::handshake);
    EXPECT_EQ(
        read("defaults: {measure: handshake}\n" + service_text("    algorithm: weighted-response-time\n")).measure,
        Measure::handshake);
    EXPECT_EQ(read("defaults: {measure: handshake}\n" + service_text("    measure: none\n")).measure, Measure::none);
    EXPECT_EQ(read("defaults: {measure: none}\n" + service_text("    algorithm: weighted-response-time\n")).measure,
        Measure::first_byte);
    EXPECT_EQ(read(service_text("    forward: dnat\n    measure: first-byte\n")).measure, Measure::first_byte);
}

TEST(ConfigMeasure, must_be_a_word_that_fits_the_algorithm)
{
    expect_problem(service_text("    measure: §firstbyte\n"), "unknown measure \"firstbyte\"",
        "did you mean \"first-byte\"? supported: none, first-byte, handshake");
    expect_problem("defaults: {measure: §[handshake]}\n" + service_text(""), "measure must be one word, not a list",
        "supported: none, first-byte, handshake");
    expect_problem(service_text("    algorithm: weighted-response-time\n    §measure: none\n"),
        "weighted-response-time picks by what is measured, and measure is none", "write measure: first-byte");
}

} // namespace
} // namespace featherlb
