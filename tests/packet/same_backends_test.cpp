// SPDX-License-Identifier: Apache-2.0
// Two balancers with the same configuration and another past send every connection to the same backend: their tables
// come from the planner, their picks from the programs. 100,000 tuples, no two of one client, by each hook in each IP
// version, for each algorithm, with all backends and with one down.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "harness.h"
#include "plan/tables.h"

namespace featherlb::packet {
namespace {

// Fewer where packets are slow: in the emulated Linux 6.1, and over the programs with counters on every branch.
unsigned number_of_tuples()
{
    return std::getenv("FEATHERLB_GUEST") || std::getenv("FEATHERLB_HOST_VARIANTS") ? 10'000 : 100'000;
}

// What a balancer's daemon does, without a kernel.
class Balancer {
public:
    explicit Balancer(const Harness& harness) : harness_(harness) { config_.hash_seed = 12345; }

    // Plans for these backends, by their number, with those down.
    void plan(Algorithm algorithm, const std::vector<unsigned>& backends, const std::set<unsigned>& down = {})
    {
        ServiceConfig service;
        service.name = "web";
        service.algorithm = algorithm;
        service.forward = Forward::dnat;
        service.listeners.push_back({.address = harness_.service_address(), .port = 80, .protocol = {}, .place = {}});
        featherlb::World world;
        for (const unsigned n : backends) {
            BackendConfig backend;
            backend.target = endpoint(n);
            backend.weight = n % 3 + 1;
            service.backends.push_back(backend);
            world.next_hops[endpoint(n).address] = {
                .hop = Harness::hop(Harness::backend_mac(n), Harness::backends()), .mtu = 1500, .source = {}};
            if (down.contains(n))
                world.down.insert({"web", endpoint(n)});
        }
        config_.services = {service};
        const featherlb::Limits limits{.services = 16, .backends = 128, .slots = 1u << 20, .prefixes = 1};
        tables_ = make_tables(config_, world, tables_, unreferenced_, limits).value();
        unreferenced_.clear();
        for (const auto& [id, row] : tables_.backends) {
            if (row.draining)
                unreferenced_.insert(id);
        }
    }

    [[nodiscard]] const std::vector<BackendId>& slots() const { return tables_.services.begin()->second.slots.ids(); }
    [[nodiscard]] std::uint64_t seed() const { return tables_.services.begin()->second.pick_seed; }
    // The number of the backend that has this id here.
    [[nodiscard]] unsigned number_of(BackendId id) const
    {
        const IpAddress& address = tables_.backends.at(id).endpoint.address;
        for (unsigned n = 1;; n++)
            if (harness_.backend_address(n) == address)
                return n;
    }

private:
    [[nodiscard]] Endpoint endpoint(unsigned n) const { return {harness_.backend_address(n), Harness::backend_port}; }

    const Harness& harness_;
    Config config_;
    Tables tables_;
    std::set<BackendId> unreferenced_;
};

class SameBackends : public Harness {
protected:
    void make_tuples(unsigned count)
    {
        std::set<std::string> clients;
        for (unsigned n = 0; n < count; n++) {
            Connection c{*this};
            c.client = address(100 + n % 2, 1 + n / 2 * 7919 % 50'000);
            c.client_port = static_cast<std::uint16_t>(1024 + n * 31 % 60'000);
            clients.insert(c.client.to_string());
            syns_.push_back(to_bytes(c.syn()));
        }
        ASSERT_EQ(clients.size(), count) << "ip-hash, too, is to see each once";
    }
    // The backends that the tuples go to through the programs with this balancer's table.
    std::vector<unsigned> homes(const Balancer& balancer, flb_pick pick)
    {
        const std::vector<unsigned> ids(balancer.slots().begin(), balancer.slots().end());
        serve(1, {.forward = FLB_DNAT, .pick = pick, .backends = ids, .pick_seed = balancer.seed()});
        std::map<unsigned, unsigned> numbers;
        for (const unsigned id : ids)
            numbers.try_emplace(id, 0);
        for (auto& [id, number] : numbers)
            number = balancer.number_of(id);
        std::vector<unsigned> all;
        for (std::size_t n = 0; n < syns_.size(); n++) {
            if (n % 500 == 0) {
                std::fill(plane().flows4().begin(), plane().flows4().end(), flb_flow4{});
                std::fill(plane().flows6().begin(), plane().flows6().end(), flb_flow6{});
            }
            const Outcome outcome = plane().run(hook(), syns_[n], {clients().index, 0});
            all.push_back(outcome.verdict == Verdict::redirect ? numbers.at(outcome.bytes.at(5)) : 0);
        }
        return all;
    }

private:
    std::vector<Bytes> syns_;
};
INSTANTIATE_TEST_SUITE_P(hooks, SameBackends, every_way, name_of);

TEST_P(SameBackends, whatever_happened_before_and_with_one_down)
{
    const std::vector<unsigned> backends = {1, 2, 3, 4, 5, 6, 7, 8};
    ASSERT_NO_FATAL_FAILURE(make_tuples(number_of_tuples()));
    for (const auto& [algorithm, pick] :
        {std::pair{Algorithm::maglev, FLB_PICK_HASH_5TUPLE}, std::pair{Algorithm::ip_hash, FLB_PICK_HASH_ADDRESSES}}) {
        Balancer plain(*this);
        plain.plan(algorithm, backends);
        Balancer eventful(*this);
        eventful.plan(Algorithm::round_robin, {11, 8, 12});
        eventful.plan(algorithm, {12, 3, 8, 1}, {8});
        eventful.plan(algorithm, {7, 3, 2, 8, 1}, {3, 2});
        eventful.plan(algorithm, {7, 3, 2, 8, 1});
        eventful.plan(algorithm, {8, 7, 6, 5, 4, 3, 2, 1}, {5});
        eventful.plan(algorithm, {8, 7, 6, 5, 4, 3, 2, 1});
        EXPECT_NE(plain.slots(), eventful.slots()) << "they have other numbers for them";
        const auto before = homes(plain, pick);
        EXPECT_EQ(before, homes(eventful, pick)) << to_string(algorithm);
        EXPECT_EQ(std::set<unsigned>(before.begin(), before.end()), (std::set<unsigned>{1, 2, 3, 4, 5, 6, 7, 8}));

        plain.plan(algorithm, backends, {6});
        eventful.plan(algorithm, {8, 7, 6, 5, 4, 3, 2, 1}, {6, 2, 7});
        eventful.plan(algorithm, {8, 7, 6, 5, 4, 3, 2, 1}, {6});
        const auto after = homes(plain, pick);
        EXPECT_EQ(after, homes(eventful, pick)) << to_string(algorithm) << ", one down";
        for (std::size_t n = 0; n < before.size(); n++)
            ASSERT_TRUE(after[n] == before[n] || before[n] == 6) << "only its connections move";
    }
}

} // namespace
} // namespace featherlb::packet
