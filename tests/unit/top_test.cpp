// SPDX-License-Identifier: Apache-2.0
// What `featherlb top` makes of one status after another: rates, and the text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "observe/figures.h"
#include "observe/rates.h"
#include "observe/top_text.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

BackendStatus watched(const std::string& name, std::uint64_t connections, std::uint64_t packets)
{
    BackendStatus backend;
    backend.name = name;
    backend.address = "10.0.1.11:8080";
    backend.state = "up";
    backend.used = true;
    backend.open = 3;
    backend.connections = connections;
    backend.packets_in = packets;
    backend.bytes_in = 100 * packets;
    return backend;
}

Status status_of(std::uint64_t connections, std::uint64_t packets, std::uint64_t drops = 0)
{
    Status status;
    status.version = "0.1.0";
    status.uptime_seconds = 61;
    status.flows.capacity = 1000;
    status.flows.connections = 10;
    ServiceStatus web;
    web.name = "web";
    web.backends = {watched("a", connections, packets), watched("b", 0, 0)};
    web.traffic = {.connections = connections, .packets_in = packets, .bytes_in = 100 * packets};
    ServiceStatus dns;
    dns.name = "dns";
    dns.backends = {watched("c", 0, 0)};
    status.services = {web, dns};
    if (drops > 0)
        status.drops = {{.reason = "no_backend", .text = "", .packets = drops}};
    return status;
}

class TopTest : public ::testing::Test {
protected:
    void take(const Status& status, Rates::Clock::duration after = 1s)
    {
        now_ += after;
        rates_.take(status, now_);
    }
    std::string text()
    {
        std::string all;
        for (const TopLine& line : draw_top(rates_, view_))
            all += line.text + '\n';
        return all;
    }
    Rates rates_;
    Rates::Clock::time_point now_{1h};
    TopView view_;
};

TEST_F(TopTest, RatesAreOfTheTimeBetweenTwoLooks)
{
    take(status_of(100, 1000));
    EXPECT_EQ(rates_.seconds(), 0);
    EXPECT_EQ(rates_.all().packets(), 0) << "one look says nothing of rates";
    take(status_of(150, 3000, 8), 2s);
    const ServiceStatus& web = rates_.status().services.at(0);
    EXPECT_DOUBLE_EQ(rates_.of(web).connections, 25);
    EXPECT_DOUBLE_EQ(rates_.of(web).packets(), 1000);
    EXPECT_DOUBLE_EQ(rates_.of(web).bits(), 800000);
    EXPECT_DOUBLE_EQ(rates_.of(web, web.backends.at(0)).connections, 25);
    EXPECT_DOUBLE_EQ(rates_.of(web, web.backends.at(1)).connections, 0);
    EXPECT_DOUBLE_EQ(rates_.all().connections, 25);
    ASSERT_EQ(rates_.drops().size(), 1u);
    EXPECT_DOUBLE_EQ(rates_.drops().at(0).packets, 4);
}

TEST_F(TopTest, ADaemonThatBeganAnewIsNoNegativeRate)
{
    take(status_of(100, 1000, 5));
    take(status_of(3, 10));
    EXPECT_EQ(rates_.all().connections, 0);
    EXPECT_TRUE(rates_.drops().empty());
    take(status_of(5, 20));
    EXPECT_DOUBLE_EQ(rates_.all().connections, 2);
}

TEST_F(TopTest, WhatComesLaterHasARateFromItsSecondLookOn)
{
    Status without = status_of(0, 0);
    without.services.pop_back();
    take(without);
    Status with = status_of(0, 0);
    with.services.at(1).traffic.connections = 1000;
    take(with);
    EXPECT_EQ(rates_.of(rates_.status().services.at(1)).connections, 0);
    with.services.at(1).traffic.connections = 1007;
    take(with);
    EXPECT_DOUBLE_EQ(rates_.of(rates_.status().services.at(1)).connections, 7);
}

TEST_F(TopTest, HistoryIsBoundedAndGoesWithItsService)
{
    for (std::uint64_t i = 0; i < 2 * Rates::longest_history; ++i)
        take(status_of(i, 10 * i));
    EXPECT_EQ(rates_.history().size(), Rates::longest_history);
    EXPECT_EQ(rates_.history(rates_.status().services.at(0)).size(), Rates::longest_history);
    Status without = status_of(0, 0);
    without.services.erase(without.services.begin());
    take(without);
    take(status_of(0, 0));
    EXPECT_EQ(rates_.history(rates_.status().services.at(0)).size(), 1u) << "begun anew";
}

TEST_F(TopTest, FitsIn80Columns)
{
    Status status = status_of(100, 1000);
    status.services.at(0).name = std::string(60, 'w');
    status.services.at(0).backends.at(0).state = "down";
    status.services.at(0).backends.at(0).reason = "timeout after 1s, waiting for the connection to open at last";
    status.services.at(0).backends.at(0).open = 123456789;
    status.problem = std::string(200, 'p');
    for (std::uint64_t i = 1; i < 100; ++i) {
        Status next = status;
        next.services.at(0).traffic.packets_in = i * i * 1000000;
        take(next);
    }
    for (const std::size_t width : {80, 60, 132, 300}) {
        for (const bool unicode : {true, false}) {
            view_ = {.width = width, .unicode = unicode, .clock = "12:00:00"};
            for (const TopLine& line : draw_top(rates_, view_)) {
                const auto columns = std::ranges::count_if(
                    line.text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
                EXPECT_LE(static_cast<std::size_t>(columns), width) << line.text;
            }
        }
    }
}

TEST_F(TopTest, SaysWhatIsWrong)
{
    Status status = status_of(0, 0);
    status.services.at(0).backends.at(0).state = "down";
    status.services.at(0).backends.at(0).used = false;
    status.services.at(1).panic = true;
    status.interfaces = {{.name = "eth1", .problem = "another XDP program"}};
    status.problem = "backend 7: no space";
    take(status);
    view_.notice = "no daemon answers";
    const std::string all = text();
    EXPECT_THAT(all, HasSubstr("1/2 used"));
    EXPECT_THAT(all, HasSubstr("PANIC"));
    EXPECT_THAT(all, HasSubstr("eth1 is not attached: another XDP program"));
    EXPECT_THAT(all, HasSubstr("trying again: backend 7: no space"));
    EXPECT_THAT(all, HasSubstr("no daemon answers"));
    const auto lines = draw_top(rates_, view_);
    const auto down = std::ranges::find_if(lines, [](const TopLine& line) { return line.text.starts_with("  a "); });
    ASSERT_NE(down, lines.end());
    EXPECT_EQ(down->style, TopLine::Style::bad);
}

TEST_F(TopTest, BackendsAreTurnedAwayAndBack)
{
    take(status_of(0, 0));
    EXPECT_THAT(text(), HasSubstr("  a 10.0.1.11:8080"));
    EXPECT_EQ(view_.rows, 5u);
    EXPECT_EQ(view_.selected_service, "web");
    view_.turned = {"web"};
    EXPECT_THAT(text(), Not(HasSubstr("  a 10.0.1.11:8080")));
    EXPECT_THAT(text(), HasSubstr("  c 10.0.1.11:8080"));
    EXPECT_EQ(view_.rows, 3u);
}

TEST_F(TopTest, ManyServicesAreScrolledAndSorted)
{
    Status status = status_of(0, 0);
    status.services.clear();
    for (int i = 0; i < 1000; ++i) {
        ServiceStatus service;
        service.name = "s" + std::to_string(i);
        service.backends = {watched("x", 0, 0)};
        service.backends.at(0).open = static_cast<std::uint64_t>(i);
        status.services.push_back(service);
    }
    take(status);
    view_.height = 24;
    view_.selected = 999;
    const auto lines = draw_top(rates_, view_);
    EXPECT_EQ(lines.size(), 24u);
    EXPECT_EQ(view_.rows, 1000u) << "backends are not shown unasked";
    EXPECT_EQ(view_.selected_service, "s999");
    EXPECT_EQ(lines.at(22).style, TopLine::Style::selected);
    EXPECT_THAT(lines.at(22).text, StartsWith("s999 "));
    view_.order = TopOrder::open;
    view_.selected = 0;
    static_cast<void>(draw_top(rates_, view_));
    EXPECT_EQ(view_.selected_service, "s999");
    EXPECT_EQ(view_.first, 0u);
    view_.selected = 5000; // of an earlier, longer list
    static_cast<void>(draw_top(rates_, view_));
    EXPECT_EQ(view_.selected, 999u);
}

TEST_F(TopTest, NothingConfiguredIsNoTrouble)
{
    take(Status{});
    take(Status{});
    EXPECT_THAT(text(), HasSubstr("open 0"));
    EXPECT_EQ(view_.rows, 0u);
}

TEST(Sparkline, IsAsHighAsTheValueBesideTheLargest)
{
    EXPECT_EQ(sparkline({0, 1, 4, 8}, 6, false), "   .=#");
    EXPECT_EQ(sparkline({0, 8}, 2, true), " █");
    EXPECT_EQ(sparkline({1, 2, 3, 4}, 2, false), "*#") << "the newest ones";
    EXPECT_EQ(sparkline({0, 0}, 3, false), "   ");
    EXPECT_EQ(sparkline({}, 0, true), "");
}

TEST(Figures, HaveFourDigitsAtMost)
{
    EXPECT_EQ(short_number(999, 1000, ""), "999");
    EXPECT_EQ(short_number(1000, 1000, ""), "1.00 k");
    EXPECT_EQ(short_number(123456, 1000, "B"), "123 kB");
    EXPECT_EQ(short_number(1536, 1024, "B"), "1.50 kiB");
}

TEST_F(TopTest, JsonHasTheSame)
{
    take(status_of(100, 1000));
    take(status_of(150, 2000, 3));
    const auto json = nlohmann::json::parse(write_rates(rates_, "2026-01-31T12:00:00Z"));
    EXPECT_EQ(json.at("at"), "2026-01-31T12:00:00Z");
    EXPECT_EQ(json.at("seconds"), 1.0);
    EXPECT_EQ(json.at("open"), 9);
    EXPECT_EQ(json.at("per_second").at("connections"), 50.0);
    EXPECT_EQ(json.at("drops_per_second").at("no_backend"), 3.0);
    EXPECT_EQ(json.at("services").at(0).at("backends").at(0).at("per_second").at("packets_in"), 1000.0);
}

} // namespace
} // namespace featherlb
