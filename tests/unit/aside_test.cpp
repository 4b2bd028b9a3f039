// SPDX-License-Identifier: Apache-2.0
#include "daemon/aside.h"

#include <atomic>

#include <gtest/gtest.h>

namespace featherlb {
namespace {

using namespace std::chrono_literals;

TEST(Aside, MakesOneAfterAnotherElsewhereAndTellsTheLoop)
{
    const auto loop = make_loop();
    Aside aside(*loop);
    const auto here = std::this_thread::get_id();
    std::vector<std::string> made;
    for (const char* name : {"a", "b", "c"})
        aside.make(
            [here, name] {
                EXPECT_NE(std::this_thread::get_id(), here);
                return std::string(name);
            },
            [&](const std::string& text) {
                EXPECT_EQ(std::this_thread::get_id(), here);
                made.push_back(text);
                if (made.size() == 3)
                    loop->stop();
            });
    loop->run();
    EXPECT_EQ(made, (std::vector<std::string>{"a", "b", "c"}));
}

TEST(Aside, TellsNobodyOnceItIsGone)
{
    const auto loop = make_loop();
    std::atomic<bool> begun = false;
    bool told = false;
    {
        Aside aside(*loop);
        const auto tell = [&told](const std::string&) { told = true; };
        aside.make(
            [&begun] {
                begun = true;
                std::this_thread::sleep_for(20ms);
                return std::string();
            },
            tell);
        aside.make([] { return std::string(); }, tell);
        while (!begun)
            std::this_thread::yield();
    }
    loop->post([&loop] { loop->stop(); });
    loop->run();
    EXPECT_FALSE(told);
}

} // namespace
} // namespace featherlb
