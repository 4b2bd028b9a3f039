// SPDX-License-Identifier: Apache-2.0
#include "daemon/service_manager.h"

#include <chrono>

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

namespace featherlb {

void ServiceManager::ready(const std::string& status)
{
    ::sd_notify(0, fmt::format("READY=1\nSTATUS={}", status).c_str());
    std::uint64_t microseconds = 0;
    if (timer_ || ::sd_watchdog_enabled(0, &microseconds) <= 0)
        return;
    interval_ = std::chrono::microseconds(microseconds / 2);
    feed();
}

void ServiceManager::reloading()
{
    ::sd_notify(0, "RELOADING=1");
}

void ServiceManager::stopping()
{
    ::sd_notify(0, "STOPPING=1");
}

void ServiceManager::feed()
{
    ::sd_notify(0, "WATCHDOG=1");
    timer_ = loop_.after(interval_, [this] { feed(); });
}

} // namespace featherlb
