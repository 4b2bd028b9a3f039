// SPDX-License-Identifier: Apache-2.0
// Controller: keeps the data plane equal to what the configuration, the names and the network say. Everything that
// happens (start, reload, a name or file that changed, what an operator asks for, a network event, a health check, an
// agent's report, a finished count of flows, a failure to try again) ends in
// the same two steps: make_plan() asks and computes without changing anything; carry_out() changes the kernel. A load
// that fails before carry_out() changes nothing.
//
// Thread rule: the loop's thread. What it works on (loop, log, network, plane, resolver, prober) must outlive it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/loop.h"
#include "config/config.h"
#include "daemon/agents.h"
#include "daemon/crowding.h"
#include "daemon/discovery.h"
#include "daemon/drains.h"
#include "daemon/event_log.h"
#include "daemon/file_watch.h"
#include "daemon/flow_request.h"
#include "daemon/health.h"
#include "daemon/interfaces.h"
#include "daemon/machine.h"
#include "daemon/overrides.h"
#include "daemon/plane.h"
#include "daemon/probe_marks.h"
#include "daemon/refusals.h"
#include "daemon/resolver.h"
#include "daemon/service_totals.h"
#include "daemon/slow_start.h"
#include "daemon/sweeping.h"
#include "daemon/waking.h"
#include "daemon/ways.h"
#include "observe/plan_report.h"
#include "observe/status.h"
#include "plan/partial.h"

namespace featherlb {

// How a start or a reload went; also the reply of POST /v1/reload.
struct LoadReport {
    enum class Result { ok, invalid, failed };
    Result result = Result::ok;
    std::string file;
    std::vector<Problem> problems; // of the file; of a name that does not resolve
    std::optional<Error> error;    // any other failure
    std::vector<std::string> warnings;
    std::size_t changes = 0;        // rows of the tables that changed
    std::optional<PlanReport> plan; // of plan(), if ok

    // All that is wrong, a line each, as `check` prints it. Empty if nothing is.
    [[nodiscard]] std::string text() const;
};
[[nodiscard]] std::string_view to_string(LoadReport::Result result);

// What an operator asks for; also the request of POST /v1/drain, /v1/undrain and /v1/weight.
struct OverrideRequest {
    enum class Action { drain, undrain, weight };
    Action action = Action::drain;
    std::string service;
    std::string backend;                          // its name, or address and port
    std::optional<std::uint32_t> weight;          // nothing: as the file says
    std::optional<std::chrono::seconds> deadline; // of a drain; see Override
};
struct OverrideReport {
    enum class Result { ok, unknown, failed }; // unknown: no such service or backend
    struct Backend {
        std::string name;
        Endpoint endpoint;
    };
    Result result = Result::ok;
    std::optional<Error> error;
    std::vector<Backend> backends; // that it concerns
    std::vector<std::string> warnings;
};

struct ControllerOptions {
    std::string config_file;
    std::string pins;      // for status only; empty: ephemeral
    std::string overrides; // the file that keeps them; empty: they end with the daemon
    std::function<HostPorts()> read_ports;
    std::function<tl::expected<Config, ConfigErrors>(const std::string& file)> load = load_config;
    Waker::Open open_sender; // empty: clients that only wait are not woken
    AskAgent ask_agent;      // empty: as make_agent_asker() does
    // Called right before a configuration is to hold: what can be refused to it (a port). A failure fails the load.
    std::function<Result<void>(const Config&)> claim = [](const Config&) { return Result<void>(); };
};

class Controller {
public:
    using Done = std::function<void(const LoadReport&)>;

    Controller(ControllerOptions options, Loop& loop, Log& log, Network& network, Plane& plane, Resolver& resolver,
        Prober& prober);

    // Loads `config` (or what load() gives, at reload) and goes on from there. `done` is called once, from the loop;
    // after a failed start nothing more happens.
    void start(Config config, Done done);
    // Requests that come in while one is under way are answered together by one more load after it.
    void reload(Done done);
    // What a reload would change now; changes nothing. Waits for a load that is under way.
    void plan(Done done);
    // Carried out when it returns.
    [[nodiscard]] OverrideReport override_backend(const OverrideRequest& request);

    // Those whom connections lead to, and the way to one.
    [[nodiscard]] FlowBackends flow_backends() const;
    [[nodiscard]] flb_hop hop_to(BackendId backend) const;

    [[nodiscard]] Status status() const;
    // With the names that hold now.
    [[nodiscard]] std::vector<Event> events_of(std::span<const SeenSample> samples) const;
    // Fails where there is no service of this name, and says which was meant.
    [[nodiscard]] Result<void> check_service(const std::string& name) const;
    // Empty: the configuration is carried out and every interface has its program.
    [[nodiscard]] std::string why_not_ready() const;

private:
    struct Plan {
        Machine machine;
        std::vector<ChosenInterface> chosen;
        std::set<std::uint32_t> recorded; // interfaces that frames come in by or leave by
        Tables want;
        std::vector<Change> changes;
        SlowStart slow_start; // once it is carried out
        World world;          // see world_
    };
    // A load under way.
    struct Load {
        std::vector<Done> done;
        std::optional<Config> config;
        bool starting = false;
        bool only_plan = false;
        bool of_files = false; // files that the configuration names have changed, not it
        bool of_names = false; // names have other addresses
        LoadReport report;
        std::map<std::string, std::vector<IpAddress>> dns;
        std::set<std::string> unresolved; // names whose look-up failed
        // Set once the names are known: until then it waits for the next hops of new backends.
        std::optional<Loop::Clock::time_point> commit_by;
    };

    enum class Purpose { start, reload, plan };
    void begin_load(Purpose purpose, std::optional<Config> config, std::vector<Done> done);
    void on_discovered();
    void on_files_changed();
    void follow_sources();
    void retry_sources(const Load& load);
    void after_load();
    void on_answers(const DnsAnswers& answers);
    void try_commit();
    void commit(const Plan& plan);
    void report_plan(const Plan& plan);
    void finish_load();
    void count_reload(const LoadReport& report);
    void log_load(const Load& load);
    void say_errors(const LoadReport& report);
    void watch_network();
    void begin_running();

    // `anew`: `interfaces: auto` chooses without regard to what is attached.
    [[nodiscard]] Result<Plan> make_plan(
        const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns, bool anew);
    void keep_attached(Plan& plan) const;
    [[nodiscard]] Result<void> carry_out(const Plan& plan);
    // Its two halves: what decides where packets go; where programs are attached, and what must be looked at later.
    [[nodiscard]] Result<void> change_tables(const Plan& plan);
    [[nodiscard]] Result<void> attach(const Plan& plan);
    [[nodiscard]] Result<void> finish_copy();
    [[nodiscard]] Result<void> apply(const Plan& plan);
    void say_forgotten(const Plan& plan);
    [[nodiscard]] std::set<BackendId> unreferenced() const;
    void say_panics(const Tables& before, const Tables& now);
    // What checks, agents and drains say of backends.
    void add_states(const Config& config, World& world) const; // `world`: its names are known
    void carry_out_overrides(Overrides::All all, const std::string& service, OverrideReport& report);
    void look_at_deadlines();
    [[nodiscard]] Result<void> plan_and_carry_out(const std::string& service);
    void check_health();
    void look_at_refusals();
    [[nodiscard]] Result<void> prepare_probes(const Plan& plan);
    void adopt_state();
    [[nodiscard]] std::set<BackendKey> taking(
        const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns, const World& world) const;
    void warn_of_ways_out(const Plan& plan);
    void prepare_waking();
    void warn_of_fixed_settings(const Config& config);

    // Plans and carries out with what is configured now. A failure is logged once and tried again.
    void converge();
    void converge_running();
    enum class Say { yes, no };
    void settle(const Result<void>& outcome, Say say);
    void converge_within(Loop::Clock::duration delay);
    static constexpr std::chrono::milliseconds health_delay{20}; // a machine that fails takes many backends with it
    // The same for some services, where what happened concerns no others; see plan/partial.h.
    void converge_service(const std::string& name);
    void converge_services();
    [[nodiscard]] Result<bool> replan(const ServiceNames& names); // false: all must be planned
    void on_network();
    void on_pass();

    [[nodiscard]] std::map<Endpoint, std::string> backend_names(
        const std::string& service) const; // as configured; empty: it is not
    [[nodiscard]] std::string interface_name(std::uint16_t slot) const;
    [[nodiscard]] std::vector<InterfaceStatus> interface_status() const;
    [[nodiscard]] std::vector<ServiceStatus> service_status() const;
    [[nodiscard]] BackendStatus backend_status(
        BackendId id, const BackendRow& row, const ServiceConfig* service, const BackendConfig* backend) const;
    void tell_share(BackendStatus& status, const BackendRow& row, const ServiceConfig& service) const;
    void tell_override(BackendStatus& status, const BackendKey& key) const;
    void tell_state(BackendStatus& status, BackendId id, const BackendRow& row, const ServiceConfig* service,
        bool configured) const;

    ControllerOptions options_;
    Loop& loop_;
    Log& log_;
    Network& network_;
    Plane& plane_;
    Resolver& resolver_;
    Prober& prober_;

    Ways ways_;
    Interfaces interfaces_;
    Sweeping sweeping_;
    Waking waking_;
    Health health_;
    Refusals refusals_;
    Handle refusals_timer_; // while backends are checked
    ProbeMarks probe_marks_;
    Agents agents_;
    SlowStart slow_start_;
    Drains drains_;
    Overrides overrides_;
    Discovery discovery_;
    FileWatch file_watch_;
    bool files_changed_ = false; // while a load was under way
    bool names_changed_ = false;
    Handle names_retry_;
    Handle files_retry_;
    Crowding crowding_;
    ServiceTotals totals_;

    std::optional<Config> config_; // what is meant to be; nothing before the first load is committed
    std::map<std::string, std::vector<IpAddress>> dns_;
    Tables have_;                                 // what the maps hold
    std::map<std::string, std::uint64_t> panics_; // how often each service has panicked since the start
    std::set<BackendId> released_;                // that the last plan may free; not to plan again for the same

    std::unique_ptr<Load> load_;
    std::vector<Done> waiting_; // reloads asked for while one is under way
    std::vector<Done> waiting_plans_;

    std::string problem_; // of the last attempt; empty: all is as it should be
    Loop::Clock::duration retry_delay_{};
    Loop::Clock::time_point converge_at_{};
    std::set<std::string> warned_;
    Handle converge_timer_;
    ServiceNames concerned_; // services to plan when services_timer_ ends
    Handle services_timer_;
    World world_; // that have_ was planned for; without what is known of backends
    Handle network_events_;
    Handle maintain_timer_;

    std::string started_socket_; // both as the daemon began with them
    AdminAccess started_access_;
    Loop::Clock::time_point started_at_{};
    std::chrono::system_clock::time_point loaded_at_{};
    ReloadStatus last_reload_;
    ReloadCounts reloads_;
};

} // namespace featherlb
