// SPDX-License-Identifier: Apache-2.0
// ServiceManager: what systemd wants to know of a Type=notify service (sd_notify(3)): that it is ready, reloads, ends,
// and, where the unit has a WatchdogSec, that its loop still turns. Without systemd nothing is sent.
#pragma once

#include <string>

#include "base/loop.h"

namespace featherlb {

class ServiceManager {
public:
    explicit ServiceManager(Loop& loop) : loop_(loop) {}

    // From here on the watchdog is fed, twice in its time.
    void ready(const std::string& status);
    void reloading();
    void stopping();

private:
    void feed();

    Loop& loop_;
    Loop::Clock::duration interval_{};
    Handle timer_;
};

} // namespace featherlb
