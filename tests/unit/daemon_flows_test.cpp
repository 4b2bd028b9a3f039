// SPDX-License-Identifier: Apache-2.0
// Whom connections lead to, as the controller tells it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/running_controller.h"

namespace featherlb {
namespace {

std::string file(const std::string& backends)
{
    return "interfaces: [eth0]\nservices:\n"
           "  - {name: web, listen: [\"10.0.0.1:80/tcp\"], backends: [" +
           backends +
           "]}\n"
           "  - {name: kept, forward: dnat, listen: [\"10.0.0.1:81/tcp\"], backends: [{address: \"10.0.0.13:80\"}]}\n";
}
const std::string host_a = R"({name: a, address: "10.0.0.11:80"})";
const std::string host_b = R"({name: b, address: "10.0.0.12:80"})";

class DaemonFlows : public RunningController {
protected:
    std::string backends() const
    {
        std::string text;
        for (const auto& [id, row] : controller_->flow_backends().rows)
            text +=
                fmt::format("{}/{} {} {}\n", row.service, row.name, row.endpoint.to_string(), to_string(row.forward));
        return text;
    }
};

TEST_F(DaemonFlows, BackendsHaveTheNamesOfTheFileAndDrainingOnesTheirAddress)
{
    start(file(host_a + ", " + host_b));
    EXPECT_EQ(backends(), "web/a 10.0.0.11:80 snat\nweb/b 10.0.0.12:80 snat\nkept/10.0.0.13:80 10.0.0.13:80 dnat\n");
    EXPECT_THAT(controller_->flow_backends().services, testing::ElementsAre("kept", "web"));
    reload(file(host_a));
    EXPECT_EQ(backends(),
        "web/a 10.0.0.11:80 snat\nweb/10.0.0.12:80 10.0.0.12:80 snat\nkept/10.0.0.13:80 10.0.0.13:80 dnat\n");
}

TEST_F(DaemonFlows, AddressesOfANameAreBackends)
{
    resolver_.answers["web.internal"] = {*IpAddress::parse("10.0.0.15")};
    start(file(R"({dns: "web.internal:80"})"));
    EXPECT_THAT(backends(), testing::HasSubstr(" 10.0.0.15:80 snat\n"));
    EXPECT_TRUE(controller_->flow_backends().services.contains("web"));
}

TEST_F(DaemonFlows, TheWayToABackendIsThatOfTheTables)
{
    start(file(host_a));
    const auto id = controller_->flow_backends().rows.begin()->first;
    EXPECT_EQ(controller_->hop_to(id).mac[5], network_.mac);
    EXPECT_EQ(controller_->hop_to(77).link, 0);
}

} // namespace
} // namespace featherlb
