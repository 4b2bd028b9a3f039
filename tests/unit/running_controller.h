// SPDX-License-Identifier: Apache-2.0
// A controller among fakes, for tests of what happens while it runs: started and reloaded with the text of a file, and
// asked for the status of its first service.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "daemon/controller.h"
#include "unit/agent_fakes.h"
#include "unit/daemon_fakes.h"

namespace featherlb {

class RunningController : public testing::Test {
protected:
    void make()
    {
        ControllerOptions options = options_;
        options.config_file = "test.yaml";
        options.read_ports = [] { return HostPorts{}; };
        options.load = [this](const std::string& file) { return parse_config(text_, file); };
        options.ask_agent = agents_.ask();
        options.claim = [this](const Config&) {
            return claim_error_ ? Result<void>(fail(*claim_error_)) : Result<void>();
        };
        controller_ =
            std::make_unique<Controller>(std::move(options), loop_, log_, network_, plane_, resolver_, prober_);
    }
    void start(const std::string& text)
    {
        make();
        const auto config = parse_config(text, "test.yaml");
        ASSERT_TRUE(config.has_value()) << config.error().format();
        controller_->start(*config,
            [](const LoadReport& report) { EXPECT_EQ(report.result, LoadReport::Result::ok) << report.text(); });
        loop_.advance(std::chrono::seconds(2));
    }
    void reload(const std::string& text)
    {
        text_ = text;
        controller_->reload(
            [](const LoadReport& report) { EXPECT_EQ(report.result, LoadReport::Result::ok) << report.text(); });
        loop_.advance(std::chrono::milliseconds(1));
    }
    ServiceStatus web() const { return controller_->status().services.at(0); }
    BackendStatus backend(const std::string& address) const
    {
        const ServiceStatus status = web();
        for (const BackendStatus& one : status.backends) {
            if (one.address == address)
                return one;
        }
        ADD_FAILURE() << "no backend " << address;
        return {};
    }

    ControllerOptions options_; // what a test changes; the rest comes with make()
    std::string text_;
    std::optional<Error> claim_error_;
    FakeLoop loop_;
    FakeLog log_;
    FakeNetwork network_;
    FakePlane plane_;
    FakeResolver resolver_{loop_};
    FakeProber prober_{loop_};
    FakeAgents agents_{loop_};
    std::unique_ptr<Controller> controller_;
};

} // namespace featherlb
