// SPDX-License-Identifier: Apache-2.0
// Controller: keeps the data plane equal to what the configuration, the names and the network say. Everything that
// happens (start, reload, a network event, a health check, a finished count of flows, a failure to try again) ends in
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
#include "daemon/crowding.h"
#include "daemon/drains.h"
#include "daemon/health.h"
#include "daemon/interfaces.h"
#include "daemon/machine.h"
#include "daemon/plane.h"
#include "daemon/resolver.h"
#include "daemon/sweeping.h"
#include "daemon/waking.h"
#include "daemon/ways.h"
#include "observe/status.h"

namespace featherlb {

// How a start or a reload went; also the reply of POST /v1/reload.
struct LoadReport {
    enum class Result { ok, invalid, failed };
    Result result = Result::ok;
    std::string file;
    std::vector<Problem> problems; // of the file; of a name that does not resolve
    std::optional<Error> error;    // any other failure
    std::vector<std::string> warnings;
    std::size_t changes = 0; // rows of the tables that changed

    // All that is wrong, a line each, as `check` prints it. Empty if nothing is.
    [[nodiscard]] std::string text() const;
};
[[nodiscard]] std::string_view to_string(LoadReport::Result result);

struct ControllerOptions {
    std::string config_file;
    std::string pins; // for status only; empty: ephemeral
    std::function<HostPorts()> read_ports;
    std::function<tl::expected<Config, ConfigErrors>(const std::string& file)> load = load_config;
    Waking::Open open_sender; // empty: clients that only wait are not woken
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

    [[nodiscard]] Status status() const;

private:
    struct Plan {
        Machine machine;
        std::vector<ChosenInterface> chosen;
        std::set<std::uint32_t> recorded; // interfaces that frames come in by or leave by
        Tables want;
        std::vector<Change> changes;
    };
    // A load under way.
    struct Load {
        std::vector<Done> done;
        std::optional<Config> config;
        bool starting = false;
        LoadReport report;
        std::map<std::string, std::vector<IpAddress>> dns;
        // Set once the names are known: until then it waits for the next hops of new backends.
        std::optional<Loop::Clock::time_point> commit_by;
    };

    void begin_load(bool starting, std::optional<Config> config, std::vector<Done> done);
    void on_answers(const DnsAnswers& answers);
    void try_commit();
    void commit(const Plan& plan);
    void finish_load();
    void log_load(const Load& load);
    void watch_network();
    void begin_running();

    // `anew`: `interfaces: auto` chooses without regard to what is attached.
    [[nodiscard]] Result<Plan> make_plan(
        const Config& config, const std::map<std::string, std::vector<IpAddress>>& dns, bool anew);
    void keep_attached(Plan& plan) const;
    [[nodiscard]] Result<void> carry_out(const Plan& plan);
    [[nodiscard]] Result<void> apply(const Plan& plan);
    void say_forgotten(const Plan& plan);
    [[nodiscard]] std::set<BackendId> unreferenced() const;
    void say_panics(const Tables& before);
    void check_health();
    void warn_of_ways_out(const Plan& plan);
    void prepare_waking();
    void warn_of_fixed_settings(const Config& config);

    // Plans and carries out with what is configured now. A failure is logged once and tried again.
    void converge();
    void converge_running();
    enum class Say { yes, no };
    void settle(const Result<void>& outcome, Say say);
    void converge_within(Loop::Clock::duration delay);
    void on_network();
    void on_pass();

    [[nodiscard]] std::vector<InterfaceStatus> interface_status() const;
    [[nodiscard]] std::vector<ServiceStatus> service_status() const;
    [[nodiscard]] BackendStatus backend_status(
        BackendId id, const BackendRow& row, const ServiceConfig* service, const BackendConfig* backend) const;
    void tell_state(BackendStatus& status, BackendId id, const BackendRow& row, const ServiceConfig* service,
        bool configured) const;

    ControllerOptions options_;
    Loop& loop_;
    Log& log_;
    Network& network_;
    Plane& plane_;
    Resolver& resolver_;

    Ways ways_;
    Interfaces interfaces_;
    Sweeping sweeping_;
    Waking waking_;
    Health health_;
    Drains drains_;
    Crowding crowding_;

    std::optional<Config> config_; // what is meant to be; nothing before the first load is committed
    std::map<std::string, std::vector<IpAddress>> dns_;
    Tables have_;                                 // what the maps hold
    std::map<std::string, std::uint64_t> panics_; // how often each service has panicked since the start
    std::set<BackendId> released_;                // that the last plan may free; not to plan again for the same

    std::unique_ptr<Load> load_;
    std::vector<Done> waiting_; // reloads asked for while one is under way

    std::string problem_; // of the last attempt; empty: all is as it should be
    Loop::Clock::duration retry_delay_{};
    Loop::Clock::time_point converge_at_{};
    std::set<std::string> warned_;
    Handle converge_timer_;
    Handle network_events_;
    Handle maintain_timer_;

    Loop::Clock::time_point started_at_{};
    std::string loaded_at_;
    ReloadStatus last_reload_;
};

} // namespace featherlb
