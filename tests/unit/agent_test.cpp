// SPDX-License-Identifier: Apache-2.0
// What agents say, and what many reports one after another come to.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "daemon/agent_report.h"
#include "daemon/agent_state.h"

namespace featherlb {
namespace {

using Admin = AgentReport::Admin;
using testing::HasSubstr;

AgentReport said(std::string_view line)
{
    const AgentLine report = parse_agent_line(line);
    EXPECT_TRUE(report) << line << ": " << report.error();
    return report.value_or(AgentReport{});
}

std::string wrong(std::string_view line)
{
    const AgentLine report = parse_agent_line(line);
    EXPECT_FALSE(report) << line;
    return report ? "" : report.error();
}

TEST(AgentReport, has_a_percentage)
{
    EXPECT_EQ(said("75%").percent, 75U);
    EXPECT_EQ(said("0%").percent, 0U);
    EXPECT_EQ(said("007%").percent, 7U);
    EXPECT_EQ(said("200%").percent, 200U);
    EXPECT_FALSE(said("200%").above_most);
    for (const char* more : {"201%", "25600%", "99999999999999999999999999%"}) {
        EXPECT_EQ(said(more).percent, 200U);
        EXPECT_TRUE(said(more).above_most);
    }
    EXPECT_FALSE(said("up").percent) << "what is not named does not change";
}

TEST(AgentReport, has_words_in_any_order_between_spaces_tabs_and_commas)
{
    const AgentReport report = said(" ready,\tup , 50%\tmaxconn:30,");
    EXPECT_EQ(report.percent, 50U);
    EXPECT_EQ(report.up, true);
    EXPECT_EQ(report.admin, Admin::ready);
    EXPECT_TRUE(report.has_maxconn);
}

TEST(AgentReport, knows_every_word_in_upper_and_lower_case)
{
    for (const char* word : {"down", "DOWN", "fail", "failed", "Stopped"})
        EXPECT_EQ(said(word).up, false) << word;
    EXPECT_EQ(said("UP").up, true);
    EXPECT_EQ(said("Drain").admin, Admin::drain);
    EXPECT_EQ(said("MAINT").admin, Admin::maint);
    EXPECT_EQ(said("Stopped").word, "stopped");
}

TEST(AgentReport, of_several_words_of_a_kind_has_the_last)
{
    EXPECT_EQ(said("10% 20%").percent, 20U);
    EXPECT_EQ(said("down up").up, true);
    EXPECT_EQ(said("ready maint drain").admin, Admin::drain);
}

TEST(AgentReport, has_a_reason_behind_a_sharp)
{
    EXPECT_EQ(said("down # no database, 50% up").reason, "no database, 50% up");
    EXPECT_EQ(said("down #no database, 50% up").up, false);
    EXPECT_EQ(said("down#full").reason, "full");
    EXPECT_EQ(said("down#full").up, false);
    EXPECT_EQ(said("up #").reason, "");
}

TEST(AgentReport, is_none_with_anything_else_in_it)
{
    EXPECT_THAT(wrong("50"), HasSubstr("a word that is not known: \"50\""));
    for (const char* line : {"HTTP/1.1 400 Bad Request", "50% hot", "-5%", "+5%", "5.5%", "%", "5%%", "1e2%",
             "maxconn:", "maxconn:x", "upp", "\xff\xfe", "0x10%"})
        EXPECT_THAT(wrong(line), HasSubstr("not known")) << line;
    EXPECT_THAT(wrong("50% \x1b[2J"), testing::Not(HasSubstr("\x1b"))) << "it ends in a log";
    for (const char* line : {"", " ", ",\t ,", "# only a reason"})
        EXPECT_THAT(wrong(line), HasSubstr("without a word")) << line;
    EXPECT_THAT(wrong(std::string(256, ' ') + "up"), HasSubstr("more than 255 bytes"));
}

TEST(AgentReport, is_the_first_line_whatever_it_ends_with)
{
    EXPECT_FALSE(judge_agent("", false));
    EXPECT_FALSE(judge_agent("50%", false)) << "it may go on with digits before the sign, too";
    for (const char* line : {"50%\n", "50%\r\n", "50%\r", "50%\nrubbish"})
        EXPECT_EQ((*judge_agent(line, false))->percent, 50U) << line;
    EXPECT_EQ((*judge_agent("50%", true))->percent, 50U) << "as HAProxy's manual has it: the end is optional";
    EXPECT_FALSE(judge_agent(std::string(255, 'u'), false));
    EXPECT_FALSE(*judge_agent(std::string(256, 'u'), false)) << "too long, whatever comes";
    EXPECT_THAT(judge_agent("", true)->error(), HasSubstr("nothing"));
    EXPECT_FALSE(*judge_agent("\n", false));
}

RC_GTEST_PROP(AgentReport, survives_any_bytes, (const std::string& bytes))
{
    for (const bool ended : {false, true}) {
        const auto line = judge_agent(bytes, ended);
        RC_ASSERT(line || (!ended && bytes.size() <= longest_agent_line));
        if (line && *line)
            RC_ASSERT((*line)->percent.value_or(0) <= most_agent_percent);
    }
}

RC_GTEST_PROP(AgentReport, reads_any_mixture_of_words_and_nothing_else, ())
{
    const std::vector<std::string> good{
        "5%", "100%", "up", "down", "fail", "stopped", "ready", "drain", "maint", "maxconn:7"};
    const std::vector<std::string> bad{"5", "hot", "%", "up!", "maxconn:"};
    std::string line;
    bool sound = true;
    const int count = *rc::gen::inRange(1, 8);
    for (int i = 0; i < count; ++i) {
        const bool wrong = *rc::gen::inRange(0, 8) == 0;
        sound = sound && !wrong;
        line += *rc::gen::elementOf(wrong ? bad : good);
        line += *rc::gen::element(' ', '\t', ',');
    }
    RC_ASSERT(parse_agent_line(line).has_value() == sound);
}

AgentState after(std::initializer_list<std::uint32_t> percents)
{
    AgentState state;
    for (const std::uint32_t percent : percents)
        state.take({.percent = percent, .up = {}, .admin = {}, .word = {}, .reason = {}});
    return state;
}

TEST(AgentState, has_no_percentage_before_the_first_report_and_that_one_at_once)
{
    EXPECT_FALSE(AgentState().percent());
    EXPECT_EQ(after({40}).percent(), 40U);
}

TEST(AgentState, follows_a_large_change_at_once)
{
    EXPECT_EQ(after({100, 75}).percent(), 75U);
    EXPECT_EQ(after({20, 90}).percent(), 90U);
    EXPECT_EQ(after({20, 0}).percent(), 0U) << "nothing more: at once, too";
    EXPECT_EQ(after({0, 10}).percent(), 5U);
}

TEST(AgentState, halves_a_small_one_with_every_report)
{
    EXPECT_EQ(after({100, 80}).percent(), 90U);
    EXPECT_EQ(after({100, 80, 80}).percent(), 85U);
    EXPECT_EQ(after({100, 80, 80, 80, 80, 80}).percent(), 80U);
}

TEST(AgentState, does_not_move_for_a_point)
{
    AgentState state = after({50});
    for (int i = 0; i < 50; ++i) {
        EXPECT_FALSE(state.take(said(i % 2 == 0 ? "51%" : "50%"))) << "the tables stay";
        EXPECT_EQ(state.percent(), 50U);
    }
    for (int i = 0; i < 5; ++i)
        state.take(said("51%"));
    EXPECT_EQ(state.percent(), 51U) << "five times the same is no noise";
}

RC_GTEST_PROP(AgentState, is_exactly_what_a_steady_agent_says, ())
{
    AgentState state;
    const auto before = *rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 201));
    for (const std::uint32_t percent : before)
        state.take({.percent = percent, .up = {}, .admin = {}, .word = {}, .reason = {}});
    const auto steady = *rc::gen::inRange<std::uint32_t>(0, 201);
    for (int i = 0; i < 5; ++i)
        state.take({.percent = steady, .up = {}, .admin = {}, .word = {}, .reason = {}});
    RC_ASSERT(state.percent() == steady);
}

RC_GTEST_PROP(AgentState, never_leaves_the_range_of_what_was_said, ())
{
    const auto percents =
        *rc::gen::nonEmpty(rc::gen::container<std::vector<std::uint32_t>>(rc::gen::inRange<std::uint32_t>(0, 201)));
    AgentState state;
    for (const std::uint32_t percent : percents)
        state.take({.percent = percent, .up = {}, .admin = {}, .word = {}, .reason = {}});
    RC_ASSERT(*state.percent() >= *std::ranges::min_element(percents));
    RC_ASSERT(*state.percent() <= *std::ranges::max_element(percents));
}

TEST(AgentState, keeps_decisions_until_they_are_taken_back)
{
    AgentState state;
    EXPECT_TRUE(state.take(said("maint")));
    EXPECT_TRUE(state.drained());
    EXPECT_EQ(state.word(), "maint");
    EXPECT_FALSE(state.take(said("up")));
    EXPECT_TRUE(state.drained());
    state.fail("connection refused");
    state.grow_silent();
    EXPECT_TRUE(state.drained()) << "who went away for maintenance does not answer";
    EXPECT_TRUE(state.take(said("ready")));
    EXPECT_FALSE(state.drained());
    EXPECT_TRUE(state.take(said("stopped # by hand")));
    EXPECT_TRUE(state.down());
    EXPECT_EQ(state.word(), "stopped");
    EXPECT_EQ(state.reason(), "by hand");
    state.take(said("80%"));
    EXPECT_TRUE(state.down());
    EXPECT_TRUE(state.take(said("up")));
    EXPECT_FALSE(state.down());
    EXPECT_EQ(state.word(), "");
}

TEST(AgentState, loses_its_percentage_when_it_is_silent)
{
    AgentState state = after({30});
    EXPECT_TRUE(state.grow_silent());
    EXPECT_FALSE(state.grow_silent()) << "it is already";
    EXPECT_FALSE(state.percent());
    EXPECT_TRUE(state.take(said("32%")));
    EXPECT_EQ(state.percent(), 32U) << "as the first one";
    AgentState without;
    without.take(said("up"));
    EXPECT_TRUE(without.grow_silent()) << "one that never said any had all of its weight";
}

TEST(AgentState, of_an_earlier_daemon_holds_until_the_first_report)
{
    AgentState state(true, true);
    state.fail("connection refused");
    EXPECT_TRUE(state.down() && state.drained());
    EXPECT_TRUE(state.take(said("50%")));
    EXPECT_FALSE(state.down() || state.drained());
    AgentState again(true, true);
    again.take(said("drain"));
    EXPECT_TRUE(again.drained());
    EXPECT_FALSE(again.down());
}

} // namespace
} // namespace featherlb
