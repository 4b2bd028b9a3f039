// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <array>

#include <gtest/gtest.h>

#include "base/utf8.h"

namespace featherlb {
namespace {

TEST(EditDistance, counts_insertions_removals_replacements_and_swaps)
{
    EXPECT_EQ(edit_distance("", ""), 0u);
    EXPECT_EQ(edit_distance("", "abc"), 3u);
    EXPECT_EQ(edit_distance("abc", ""), 3u);
    EXPECT_EQ(edit_distance("maglev", "maglev"), 0u);
    EXPECT_EQ(edit_distance("magelv", "maglev"), 1u);
    EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
    EXPECT_EQ(edit_distance("weight", "wieght"), 1u);
    EXPECT_EQ(edit_distance("ca", "abc"), 3u) << "a swapped pair is not changed again";
}

TEST(Closest, finds_what_was_probably_meant)
{
    static constexpr auto words = std::to_array<std::string_view>({"tcp", "udp", "hash_seed", "round-robin"});
    EXPECT_EQ(closest("tpc", words), "tcp");
    EXPECT_EQ(closest("UDP", words), "udp");
    EXPECT_EQ(closest("Hash-Seed", words), "hash_seed");
    EXPECT_EQ(closest("round_robbin", words), "round-robin");
    EXPECT_EQ(closest("sctp", words), std::nullopt) << "two steps from a word of three letters";
    EXPECT_EQ(closest("icmp", words), std::nullopt);
    EXPECT_EQ(closest("", words), std::nullopt);
    EXPECT_EQ(closest(std::string(1'000'000, 'x'), words), std::nullopt);
}

TEST(Quote, shows_text_without_letting_it_act)
{
    EXPECT_EQ(quote(""), "\"\"");
    EXPECT_EQ(quote("gr\u00fc\u00dfe"), "\"gr\u00fc\u00dfe\"");
    EXPECT_EQ(quote("a\"b\\c"), "\"a\\\"b\\\\c\"");
    EXPECT_EQ(quote("\x1b[2J\n\r\t\x7f"), "\"\\x1b[2J\\n\\r\\t\\x7f\"");
    EXPECT_EQ(quote("a\u202eb\u200b\ufeff\u0085"), "\"a\\u{202e}b\\u{200b}\\u{feff}\\u{85}\"");
    EXPECT_EQ(quote("\xff\xc3"), "\"\\xff\\xc3\"");
    EXPECT_EQ(quote(std::string(60, 'x')), "\"" + std::string(60, 'x') + "\"");
    EXPECT_EQ(quote(std::string(61, 'x')), "\"" + std::string(60, 'x') + "...\"");
}

TEST(Join, puts_commas_between)
{
    EXPECT_EQ(join({}), "");
    EXPECT_EQ(join(std::to_array<std::string_view>({"a", "b"})), "a, b");
}

TEST(Utf8, decodes_only_the_shortest_forms_of_real_characters)
{
    EXPECT_EQ(decode_utf8("a", 0)->value, U'a');
    EXPECT_EQ(decode_utf8("\u00fc", 0)->value, U'\u00fc');
    EXPECT_EQ(decode_utf8("\u4f60", 0)->length, 3u);
    EXPECT_EQ(decode_utf8("\U0010ffff", 0)->value, U'\U0010ffff');
    for (const auto* text : {"", "\x80", "\xc3", "\xc3(", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80",
             "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xe4\xbd"})
        EXPECT_FALSE(decode_utf8(text, 0).has_value()) << text;
    EXPECT_EQ(count_characters("a\u00fc\u4f60\U0001f600"), 4u);
    EXPECT_EQ(count_characters("a\xff"
                               "b"),
        3u);
}

} // namespace
} // namespace featherlb
