// SPDX-License-Identifier: Apache-2.0
// DNS names to addresses, as the C library resolves them (files, DNS, whatever nsswitch.conf says), without holding
// up the event loop: threads ask, and after a deadline the answers that are there are taken.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/loop.h"
#include "config/config.h"
#include "plan/tables.h"

namespace featherlb {

struct DnsAnswer {
    std::vector<IpAddress> addresses; // sorted, each once
    std::string problem;              // empty: answered
    friend bool operator==(const DnsAnswer&, const DnsAnswer&) = default;
};
using DnsAnswers = std::map<std::string, DnsAnswer>; // by host

class Resolver {
public:
    virtual ~Resolver() = default;
    // Calls `done` once, from the loop, with an answer for each host; not before resolve() has returned.
    virtual void resolve(const std::set<std::string>& hosts, std::function<void(DnsAnswers)> done) = 0;
};

using Lookup = std::function<DnsAnswer(const std::string& host)>;
// By getaddrinfo. Addresses that no backend can have (loopback, multicast, ...) are left out.
[[nodiscard]] DnsAnswer look_up(const std::string& host);

// `lookup` is called from threads of its own, up to 32 at a time; one that does not return in time is left alone.
[[nodiscard]] std::unique_ptr<Resolver> make_resolver(
    Loop& loop, std::chrono::milliseconds deadline = std::chrono::seconds(5), Lookup lookup = look_up);

[[nodiscard]] std::set<std::string> dns_hosts(const Config& config);

// The backends of a service by the endpoints that they stand for; of two with the same one, the first.
[[nodiscard]] std::map<Endpoint, const BackendConfig*> endpoints_of(
    const ServiceConfig& service, const std::map<std::string, std::vector<IpAddress>>& dns);

// What is known of the names of a configuration after new answers came in.
struct DnsKnowledge {
    std::map<std::string, std::vector<IpAddress>> known; // for World::dns
    std::vector<std::string> warnings;                   // names without an answer, and what is done about them
    std::vector<Problem> problems;                       // services that are left without any backend
};
// `last`: what was known before.
[[nodiscard]] DnsKnowledge merge_answers(
    const Config& config, const DnsAnswers& answers, const std::map<std::string, std::vector<IpAddress>>& last);

// For a daemon that adopts tables: the addresses that names of the configuration had, as far as the tables tell.
[[nodiscard]] std::map<std::string, std::vector<IpAddress>> recall_addresses(
    const Config& config, const Tables& tables);

} // namespace featherlb
