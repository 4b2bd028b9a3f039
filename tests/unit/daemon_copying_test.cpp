// SPDX-License-Identifier: Apache-2.0
// When connections are copied to another flow table: after the programs are in their places, and what is said of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/running_controller.h"

namespace featherlb {
namespace {

const std::string served = "interfaces: [eth0]\nservices:\n"
                           "  - {name: web, listen: [\"10.0.0.1:80/tcp\"], backends: [{address: \"10.0.0.11:80\"}]}\n";

class DaemonCopying : public RunningController {
protected:
    DaemonCopying()
    {
        plane_.copy =
            CopyReport{.why = "flows.max was 1 and is 2", .connections = 7, .took = std::chrono::milliseconds(3)};
    }
    bool said(const std::string& what) const
    {
        return std::ranges::any_of(
            log_.lines, [&](const std::string& line) { return line.find(what) != std::string::npos; });
    }
};

TEST_F(DaemonCopying, ItEndsWhenAllIsAttached)
{
    start(served);
    EXPECT_FALSE(plane_.copy);
    EXPECT_TRUE(said("info 7 connections copied to the new flow table in 3 ms (flows.max was 1 and is 2)"));
    EXPECT_FALSE(said("could not be copied"));
    log_.lines.clear();
    reload(served);
    EXPECT_FALSE(said("copied"));
}

TEST_F(DaemonCopying, WhatIsLostIsSaid)
{
    plane_.copy->lost = 2;
    start(served);
    EXPECT_TRUE(said("warning 2 connections could not be copied"));
}

TEST_F(DaemonCopying, WhereNothingCouldBeAttachedTheOldTableStays)
{
    plane_.failing_attach = true;
    make();
    controller_->start(*parse_config(served, "test.yaml"),
        [](const LoadReport& report) { EXPECT_NE(report.result, LoadReport::Result::ok); });
    loop_.advance(std::chrono::seconds(2));
    EXPECT_TRUE(plane_.copy);
    EXPECT_FALSE(said("copied"));
}

TEST_F(DaemonCopying, AFailureIsTheStartsFailure)
{
    plane_.copy_fails = "no more";
    make();
    std::string text;
    controller_->start(*parse_config(served, "test.yaml"), [&](const LoadReport& report) { text = report.text(); });
    loop_.advance(std::chrono::seconds(2));
    EXPECT_THAT(text, testing::HasSubstr("copying the connections: no more"));
}

} // namespace
} // namespace featherlb
