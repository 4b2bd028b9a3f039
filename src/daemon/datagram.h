// SPDX-License-Identifier: Apache-2.0
// Datagram: some bytes are sent to a backend by UDP, and what comes back is judged: one attempt of a health check. An
// ICMP error tells that nobody is there. UDP loses packets: a question is sent once, and what is lost is a failure.
//
// Thread rule: the loop's thread. It may be destroyed at any time, in Done too.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/loop.h"
#include "daemon/health_state.h"
#include "daemon/probe.h"

namespace featherlb {

struct DatagramTalk {
    std::string to_send;
    std::string_view waits_for; // "an answer"
    std::function<CheckResult(std::string_view received)> judge;
    bool silence_is_good = false; // when the time is up
};

[[nodiscard]] std::unique_ptr<Probe> start_datagram(
    Loop& loop, const Endpoint& target, DatagramTalk talk, std::function<void(const CheckResult&)> done);

} // namespace featherlb
