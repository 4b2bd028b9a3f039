// SPDX-License-Identifier: Apache-2.0
// A machine in memory for tests of the daemon: a loop whose clock is turned by hand, a log to read, a network and a
// data plane that can be changed and made to fail.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/loop.h"
#include "daemon/plane.h"
#include "daemon/prober.h"
#include "daemon/resolver.h"
#include "kernel/network.h"
#include "plan/partial.h"

namespace featherlb {

class FakeLoop : public Loop {
public:
    Clock::time_point now() const override { return now_; }
    Handle after(Clock::duration delay, std::function<void()> handler) override
    {
        return keep({now_ + std::max(delay, Clock::duration::zero()), -1, std::move(handler)});
    }
    Handle on_readable(int fd, std::function<void()> handler) override { return keep({{}, fd, std::move(handler)}); }
    Handle on_writable(int fd, std::function<void()> handler) override { return keep({{}, fd, std::move(handler)}); }
    Handle on_signals(std::initializer_list<int>, std::function<void(int)>) override { return keep({{}, -2, {}}); }
    void post(std::function<void()> handler) override { posted_.push_back(std::move(handler)); }
    void run() override {}
    void stop() override {}

    // A handler that takes so long.
    void take(Clock::duration time) { now_ += time; }

    // Lets time pass; whatever is due happens in its order.
    void advance(Clock::duration time)
    {
        const auto end = now_ + time;
        run_posted();
        for (;;) {
            auto next = entries_.end();
            for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
                if (entry->second.fd == -1 && entry->second.at <= end &&
                    (next == entries_.end() || entry->second.at < next->second.at))
                    next = entry;
            }
            if (next == entries_.end())
                break;
            now_ = std::max(now_, next->second.at);
            const auto handler = std::move(next->second.handler);
            entries_.erase(next);
            handler();
            run_posted();
        }
        now_ = end;
    }
    // The thread does not run for so long: whatever was due meanwhile happens late, in its order.
    void stall(Clock::duration time)
    {
        now_ += time;
        advance({});
    }
    void readable(int fd)
    {
        std::vector<std::function<void()>> handlers;
        for (const auto& [id, entry] : entries_) {
            if (entry.fd == fd)
                handlers.push_back(entry.handler);
        }
        for (const auto& handler : handlers)
            handler();
        run_posted();
    }

private:
    struct Entry {
        Clock::time_point at;
        int fd = -1; // -1: a timer
        std::function<void()> handler;
    };
    struct Kept : Registration {
        Kept(FakeLoop& owner, int number) : loop(owner), id(number) {}
        Kept(const Kept&) = delete;
        Kept& operator=(const Kept&) = delete;
        ~Kept() override { loop.entries_.erase(id); }
        FakeLoop& loop;
        int id;
    };
    Handle keep(Entry entry)
    {
        entries_.emplace(++last_, std::move(entry));
        return std::make_unique<Kept>(*this, last_);
    }
    void run_posted()
    {
        while (!posted_.empty()) {
            const auto handlers = std::exchange(posted_, {});
            for (const auto& handler : handlers)
                handler();
        }
    }

    Clock::time_point now_{std::chrono::hours(1)};
    std::map<int, Entry> entries_;
    int last_ = 0;
    std::vector<std::function<void()>> posted_;
};

class FakeLog : public Log {
public:
    void write(LogLevel level, const std::string& line) override
    {
        lines.push_back(std::string(to_string(level)) + " " + line);
    }
    [[nodiscard]] std::size_t count(std::string_view part) const
    {
        return static_cast<std::size_t>(std::count_if(lines.begin(), lines.end(),
            [part](const std::string& line) { return line.find(part) != std::string::npos; }));
    }
    std::vector<std::string> lines;
};

class FakeNetwork : public Network {
public:
    static constexpr int fd = 77;

    FakeNetwork() { add_interface(2, "eth0", "10.0.0.1"); }
    void add_interface(std::uint32_t index, const std::string& name, std::string_view address)
    {
        Interface interface;
        interface.index = index;
        interface.name = name;
        interface.mtu = 1500;
        interface.up = interface.carrier = interface.ethernet = true;
        links.push_back(interface);
        if (!address.empty())
            own.push_back({.address = *IpAddress::parse(address), .prefix_length = 24, .ifindex = index});
    }
    void remove_interface(std::uint32_t index)
    {
        std::erase_if(links, [index](const Interface& interface) { return interface.index == index; });
        std::erase_if(own, [index](const InterfaceAddress& address) { return address.ifindex == index; });
    }

    Result<std::vector<Interface>> interfaces() override { return links; }
    Result<std::vector<InterfaceAddress>> addresses() override { return own; }
    Way next_hop(const IpAddress& destination) override
    {
        Way way;
        way.ifindex = way_out;
        way.device = "eth0";
        way.next.mtu = 1500;
        way.next.source = IpAddress::parse("10.0.0.1");
        if (unresolved.contains(destination.to_string()))
            way.problem = Error{destination.to_string() + " has not answered yet", ""};
        else
            way.next.hop = flb_hop{.mac = {2, 0, 0, 0, 0, mac}, .link = 2, .vlan = {}};
        return way;
    }
    void retain(const std::set<IpAddress>& destinations) override { retained = destinations; }
    bool maintain() override
    {
        ++maintained;
        return false;
    }
    void release() override {}
    int event_fd() const override { return fd; }
    NetworkChanges drain() override { return NetworkChanges::everything(); }

    std::vector<Interface> links;
    std::vector<InterfaceAddress> own;
    std::set<std::string> unresolved;
    std::set<IpAddress> retained;
    std::uint32_t way_out = 2;
    std::uint8_t mac = 1;
    int maintained = 0;
};

class FakePlane : public Plane {
public:
    bool adopted() const override { return was_there; }
    std::vector<std::string> warnings() const override { return {}; }
    DataPlaneSizes sizes() const override { return {}; }
    Limits limits() const override
    {
        return {.services = most_services, .backends = 100, .slots = 1u << 20, .prefixes = 1000};
    }
    std::vector<ProgramInfo> programs() const override { return {}; }
    std::vector<MapFacts> maps() const override { return {{"backends", 100, 6400}}; }

    Result<Tables> read() const override { return tables; }
    Result<void> apply(const Tables& want, const std::vector<Change>& changes) override
    {
        calls.emplace_back("apply");
        if (failing_applies > 0) {
            --failing_applies;
            return fail("the map is full", "make it larger");
        }
        tables = want;
        applied.push_back(changes);
        return {};
    }
    Result<void> apply_rows(const Tables& want, const std::vector<Change>& changes) override
    {
        calls.emplace_back("apply_rows");
        if (failing_applies > 0) {
            --failing_applies;
            return fail("the map is full", "make it larger");
        }
        carry_over({want, changes}, tables);
        applied.push_back(changes);
        return {};
    }
    Result<void> set_interface(const InterfaceRecord& interface) override
    {
        recorded.insert(interface.ifindex);
        return {};
    }
    Result<void> remove_interface(std::uint32_t ifindex) override
    {
        recorded.erase(ifindex);
        attached.erase(ifindex);
        return {};
    }
    std::vector<std::uint32_t> interfaces() const override { return {recorded.begin(), recorded.end()}; }
    Result<AttachOutcome> attach(const AttachRequest& request) override
    {
        calls.push_back("attach " + request.name);
        if (failing_attach)
            return fail("the interface is occupied", "free it");
        attached.insert(request.ifindex);
        AttachOutcome outcome;
        outcome.why = "it is a test";
        return outcome;
    }
    Result<std::vector<std::string>> detach_others(const std::set<std::uint32_t>& keep) override
    {
        std::vector<std::string> removed;
        for (const std::uint32_t index : std::set<std::uint32_t>(attached)) {
            if (!keep.contains(index)) {
                attached.erase(index);
                removed.push_back("detached from " + std::to_string(index));
            }
        }
        return removed;
    }
    std::optional<CopyReport> copying() const override { return copy; }
    Result<CopyReport> finish_copy() override
    {
        if (!copy_fails.empty())
            return fail(copy_fails);
        CopyReport report = copy.value();
        copy.reset();
        return report;
    }
    std::vector<Attachment> attachments() const override
    {
        std::vector<Attachment> all;
        for (const std::uint32_t index : attached)
            all.push_back({.ifindex = index, .hook = Hook::tcx, .program_id = 9});
        return all;
    }
    Result<bool> sweep(std::uint32_t) override
    {
        ++sweeps;
        if (on_sweep)
            on_sweep();
        return pass_ends;
    }
    const FlowCounts& flow_counts() const override { return counts; }
    SweepTotals sweep_totals() const override { return {}; }
    bool idle() const override { return at_rest; }
    // The table is `sets4` and `sets6`; a walk looks at as many sets at once as it may.
    Result<bool> list_flows(std::size_t& position, std::uint32_t sets, std::size_t most, const FlowFilter& filter,
        std::vector<Flow>& found) const override
    {
        if (!table_failure.empty())
            return fail(table_failure);
        if (position == 0 && filter.states == states_waiting) {
            walks.emplace_back();
            for (BackendId id = 0; id < filter.backends->size(); ++id)
                if ((*filter.backends)[id])
                    walks.back().insert(id);
        }
        return FlowWalk(sets4, sets6, {}, {}).list(position, sets, most, {0, timeouts}, filter, found);
    }
    Result<bool> kill_flows(
        std::size_t& position, std::uint32_t sets, const FlowFilter& filter, std::size_t& killed) override
    {
        return FlowWalk(sets4, sets6, {}, {}).kill(position, sets, {0, timeouts}, filter, killed);
    }
    double tick_seconds() const override { return 1.024; }
    std::set<BackendId> resetting() const override
    {
        std::set<BackendId> all;
        for (const auto& [id, row] : tables.backends)
            if (row.reset)
                all.insert(id);
        return all;
    }
    std::optional<LinkOut> link_out(const flb_hop& hop) const override
    {
        return hop.link == 2 ? std::optional(LinkOut{.ifindex = 2, .mac = {2, 0, 0, 0, 0, 9}}) : std::nullopt;
    }
    BackendCounts backend_counts(BackendId id) const override
    {
        const auto counted = totals.find(id);
        return counted == totals.end() ? BackendCounts{} : counted->second;
    }
    std::uint64_t refused(BackendId id) const override { return backend_counts(id).refused; }
    ResponseCounts service_responses(ServiceId) const override { return {}; }
    DropCounts drop_counts() const override
    {
        DropCounts drops{};
        drops[FLB_DROP_no_flow] = 3;
        return drops;
    }
    EventCounts event_counts() const override
    {
        EventCounts events{};
        events[FLB_EVENT_pin_refused] = 4;
        events[FLB_EVENT_evicted] = evicted;
        return events;
    }
    std::uint64_t pins() const override { return 5; }
    Result<void> ask_samples(std::uint64_t which) override
    {
        if (failing_samples)
            return fail("the clock does not answer");
        asked_samples.push_back(which);
        return {};
    }
    void read_samples(std::vector<flb_sample>& into) override
    {
        into.insert(into.end(), samples.begin(), samples.end());
        samples.clear();
    }
    SampleCounts samples_left_out() const override { return left_out; }

    bool failing_samples = false;
    std::vector<std::uint64_t> asked_samples;
    std::vector<flb_sample> samples;
    SampleCounts left_out{};
    bool was_there = false;
    std::uint32_t most_services = 100;
    Tables tables;
    std::vector<std::vector<Change>> applied;
    std::vector<std::string> calls;
    std::set<std::uint32_t> recorded;
    std::set<std::uint32_t> attached;
    int failing_applies = 0;
    bool failing_attach = false;
    int sweeps = 0;
    std::function<void()> on_sweep;
    bool at_rest = false; // idle()
    std::optional<CopyReport> copy;
    std::string copy_fails;
    bool pass_ends = false;
    FlowCounts counts;
    std::map<BackendId, BackendCounts> totals;
    std::uint64_t evicted = 0;
    mutable std::vector<flb_set4> sets4;
    mutable std::vector<flb_set6> sets6;
    std::string table_failure;
    std::array<std::uint32_t, FLB_FLOW_STATES> timeouts{}; // ticks; it is tick 0 for ever
    mutable std::vector<std::set<BackendId>> walks;        // that began, for clients that wait
};

class FakeResolver : public Resolver {
public:
    explicit FakeResolver(Loop& loop) : loop_(loop) {}
    void resolve(const std::set<std::string>& hosts, std::function<void(DnsAnswers)> done) override
    {
        asked = hosts;
        DnsAnswers all;
        for (const std::string& host : hosts) {
            const auto known = answers.find(host);
            all[host] = known == answers.end() ? DnsAnswer{{}, "no such name"} : DnsAnswer{known->second, ""};
        }
        loop_.post([all, done] { done(all); });
    }
    std::map<std::string, std::vector<IpAddress>> answers;
    std::set<std::string> asked;

private:
    Loop& loop_;
};

// Backends that answer after `takes` what `answers` says; those that are not named answer well.
class FakeProber : public Prober {
public:
    explicit FakeProber(Loop& loop) : loop_(loop) {}
    std::unique_ptr<Probe> start(const Endpoint& target, const Check& how, Done done) override
    {
        asked.emplace_back(loop_.now(), target);
        last_how = how;
        return std::make_unique<Asked>(*this, target, std::move(done));
    }
    [[nodiscard]] std::size_t count(std::string_view target) const
    {
        return static_cast<std::size_t>(std::count_if(asked.begin(), asked.end(),
            [target](const auto& question) { return question.second.to_string() == target; }));
    }
    void fails(const std::string& target, const std::string& reason = "connection refused")
    {
        answers[target] = {CheckResult::Kind::failed, reason};
    }

    std::vector<std::pair<Loop::Clock::time_point, Endpoint>> asked;
    Result<void> prepare(const ProbeRoutes& wanted) override
    {
        routes = wanted;
        return {};
    }

    ProbeRoutes routes;
    Check last_how;
    std::map<std::string, CheckResult> answers;
    std::set<std::string> silent; // never answer
    std::map<std::string, Loop::Clock::duration> takes;
    int running = 0;

private:
    struct Asked : Probe {
        Asked(FakeProber& owner, const Endpoint& target, Done called)
            : prober(owner), done(std::move(called)), name(target.to_string())
        {
            ++prober.running;
            if (prober.silent.contains(name))
                return;
            answers_at =
                prober.loop_.now() + (prober.takes.contains(name) ? prober.takes[name] : Loop::Clock::duration{1});
            timer = prober.loop_.after(answers_at - prober.loop_.now(), [this] { answer(); });
        }
        Asked(const Asked&) = delete;
        Asked& operator=(const Asked&) = delete;
        ~Asked() override { --prober.running; }
        void look() override
        {
            if (timer && answers_at <= prober.loop_.now())
                answer();
        }
        std::string waits_for() const override { return "the connection"; }
        void answer()
        {
            timer.reset();
            const auto known = prober.answers.find(name);
            const CheckResult result = known == prober.answers.end() ? CheckResult{} : known->second;
            const Done called = std::move(done);
            called(result);
        }
        FakeProber& prober;
        Done done;
        std::string name;
        Loop::Clock::time_point answers_at{};
        Handle timer;
    };
    Loop& loop_;
};

} // namespace featherlb
