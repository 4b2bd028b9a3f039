// SPDX-License-Identifier: Apache-2.0
#include "daemon/run.h"

#include <csignal>
#include <utility>

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/loop.h"
#include "daemon/api.h"
#include "daemon/controller.h"
#include "daemon/interfaces.h"
#include "daemon/metrics_server.h"
#include "daemon/room.h"
#include "daemon/service_manager.h"
#include "daemon/unix_socket.h"

namespace featherlb {

namespace {

void log_lines(Log& log, const std::string& text)
{
    for (std::size_t from = 0; from < text.size();) {
        const std::size_t to = std::min(text.find('\n', from), text.size());
        log.error("{}", text.substr(from, to - from));
        from = to + 1;
    }
}

// A health check of each backend may be under way at once, and each has a socket.
void allow_many_files()
{
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
}

std::optional<Endpoint> endpoint_of(const Config& config)
{
    return config.metrics ? std::optional(config.metrics->listen) : std::nullopt;
}

int give_up(Log& log, const Error& error)
{
    log.error("{}", describe(error));
    return exit_failed;
}

// The members are in the order of making; later ones use earlier ones.
class Daemon {
public:
    Daemon(const RunOptions& options, Log& log)
        : options_(options), log_(log), loop_(make_loop()), aside_(*loop_), lists_(*loop_),
          metrics_(*loop_, {.status = [this] { return controller_->status(); },
                               .why_not_ready = [this] { return controller_->why_not_ready(); },
                               .aside = make_aside()})
    {
    }

    int run()
    {
        // From here on a signal waits for the loop, so that nothing is left half made.
        signals_ = loop_->on_signals({SIGTERM, SIGINT, SIGHUP}, [this](int number) { on_signal(number); });
        if (const int code = prepare(); code != exit_ok)
            return code;
        loop_->run();
        end();
        return code_;
    }

private:
    // Everything that can be wrong before anything in the kernel is touched, then the data plane.
    int prepare()
    {
        auto config = load_config(options_.config_file);
        if (!config) {
            log_lines(log_, config.error().format());
            return exit_invalid;
        }
        Result<std::unique_ptr<Network>> network = open_network();
        if (!network)
            return give_up(log_, network.error());
        network_ = std::move(*network);
        if (const int code = check(*config); code != exit_ok)
            return code;
        if (Result<void> listening = metrics_.listen(endpoint_of(*config)); !listening)
            return give_up(log_, listening.error());
        if (Result<void> opened = open_data_plane(*config); !opened)
            return give_up(log_, opened.error());
        const std::string socket = options_.socket.empty() ? config->admin_socket : options_.socket;
        Result<UnixListener> listener = UnixListener::open(socket, config->admin_access);
        if (!listener) {
            take_back();
            return give_up(log_, listener.error());
        }
        start(std::move(*config), std::move(*listener), socket);
        return code_;
    }

    // A port that cannot be had leaves everything, the old port too, as it was.
    Result<void> move_metrics(const Config& config)
    {
        const std::optional<Endpoint> before = metrics_.endpoint();
        if (Result<void> moved = metrics_.listen(endpoint_of(config)); !moved)
            return moved;
        if (metrics_.endpoint() != before)
            say_metrics();
        return {};
    }

    Aside::Make make_aside()
    {
        return [this](Aside::Work work, Aside::Done done) { aside_.make(std::move(work), std::move(done)); };
    }

    void close_metrics() { (void)metrics_.listen(std::nullopt); } // which cannot fail

    void say_metrics()
    {
        if (const auto& where = metrics_.endpoint())
            log_.info("metrics at http://{}/metrics", where->to_string());
        else
            log_.info("metrics are not served any more");
    }

    int check(const Config& config)
    {
        Result<Machine> machine = read_machine(*network_);
        if (!machine)
            return give_up(log_, machine.error());
        machine->ports = read_host_ports();
        const MachineReport report = check_machine(config, *machine);
        programs_ = programs_for(choose_interfaces(config, *machine, {}));
        if (report.problems.empty())
            return exit_ok;
        log_lines(log_, ConfigErrors{options_.config_file, report.problems}.format());
        return exit_invalid;
    }

    Result<void> open_data_plane(const Config& config)
    {
        DataPlaneOptions plane;
        plane.pins = options_.ephemeral ? "" : options_.pins;
        plane.sizes = sizes_for(config);
        plane.programs = programs_;
        Result<std::unique_ptr<Plane>> opened = open_plane(plane);
        if (!opened)
            return fail(std::move(opened.error()));
        plane_ = std::move(*opened);
        for (const std::string& warning : plane_->warnings())
            log_.warning("{}", warning);
        for (const ProgramInfo& program : plane_->programs())
            log_.info("program {} loaded: id {}, tag {}", program.name, program.id, program.tag);
        log_.info("data plane {}{}",
            plane_->adopted()    ? "adopted from "
            : options_.ephemeral ? "ephemeral"
                                 : "new at ",
            options_.ephemeral ? "" : options_.pins);
        return {};
    }

    void start(Config config, UnixListener listener, const std::string& socket)
    {
        resolver_ = make_resolver(*loop_);
        prober_ = make_prober(*loop_);
        ControllerOptions controller;
        controller.config_file = options_.config_file;
        controller.pins = options_.ephemeral ? "" : options_.pins;
        controller.overrides = options_.ephemeral ? "" : overrides_file(socket);
        controller.read_ports = [] { return read_host_ports(); };
        controller.open_sender = open_frame_sender;
        controller.claim = [this](const Config& held) { return move_metrics(held); };
        controller_ =
            std::make_unique<Controller>(std::move(controller), *loop_, log_, *network_, *plane_, *resolver_, *prober_);
        flows_ = std::make_unique<FlowTasks>(
            *loop_, *plane_, log_, open_frame_sender, [this](BackendId id) { return controller_->hop_to(id); });
        event_log_ = std::make_unique<EventLog>(
            *loop_, *plane_, [this](std::span<const SeenSample> samples) { return controller_->events_of(samples); });
        ApiTarget target{.status = [this] { return controller_->status(); },
            .reload = [this](Controller::Done done) { controller_->reload(std::move(done)); },
            .plan = [this](Controller::Done done) { controller_->plan(std::move(done)); },
            .override_backend = [this](
                                    const OverrideRequest& request) { return controller_->override_backend(request); },
            .flow_backends = [this] { return controller_->flow_backends(); },
            .tick_seconds = [this] { return plane_->tick_seconds(); },
            .list_flows =
                [this](FlowFilter filter, FlowTasks::Found found, std::function<void(Result<void>)> done) {
                    flows_->list(std::move(filter), std::move(found), std::move(done));
                },
            .kill_flows =
                [this](FlowFilter filter, std::function<void(Result<FlowTasks::Outcome>)> done) {
                    flows_->kill(std::move(filter), std::move(done));
                },
            .aside_for_lists = [this](Aside::Work work,
                                   Aside::Done done) { lists_.make(std::move(work), std::move(done)); },
            .events = [this](const EventQuery& query,
                          EventLog::Done done) { return event_log_->ask(query, std::move(done)); },
            .check_service = [this](const std::string& name) { return controller_->check_service(name); },
            .aside = make_aside()};
        Result<std::unique_ptr<AdminServer>> admin =
            AdminServer::start(std::move(listener), *loop_, make_api(std::move(target)));
        if (!admin) {
            code_ = give_up(log_, admin.error());
            take_back();
            return;
        }
        admin_ = std::move(*admin);
        controller_->start(std::move(config), [this](const LoadReport& report) { on_started(report); });
    }

    void on_started(const LoadReport& report)
    {
        if (report.result == LoadReport::Result::ok) {
            started_ = true;
            if (metrics_.endpoint())
                say_metrics();
            log_.info("ready (pid {})", ::getpid());
            manager_.ready("forwarding");
            return;
        }
        code_ = report.result == LoadReport::Result::invalid ? exit_invalid : exit_failed;
        loop_->stop();
    }

    void on_signal(int number)
    {
        if (number == SIGHUP) {
            log_.info("SIGHUP: reloading {}", options_.config_file);
            manager_.reloading();
            controller_->reload([this](const LoadReport& report) { // which logs what there is to say
                manager_.ready(fmt::format("forwarding; last reload: {}", to_string(report.result)));
            });
            return;
        }
        log_.info("{}: ending", number == SIGTERM ? "SIGTERM" : "SIGINT");
        manager_.stopping();
        loop_->stop();
    }

    void end()
    {
        if (!started_ && !options_.ephemeral)
            return take_back();
        admin_.reset();
        flows_.reset();
        close_metrics();
        event_log_.reset();
        controller_.reset();
        prober_.reset(); // with its programs, or the plane's would not find the interfaces empty
        if (options_.ephemeral) {
            plane_.reset();
            network_->release();
            log_.info("ended; nothing is left attached");
        } else {
            log_.info("ended; the data plane goes on as it is (`featherlb detach` removes it)");
        }
    }

    // A start that failed leaves no half-made data plane; one that was adopted goes on as it was.
    void take_back()
    {
        const bool adopted = plane_->adopted();
        admin_.reset();
        flows_.reset();
        close_metrics();
        event_log_.reset();
        controller_.reset();
        prober_.reset();
        plane_.reset();
        if (adopted) {
            log_.warning("the data plane of an earlier daemon goes on forwarding with what it had");
            return;
        }
        network_->release();
        if (options_.ephemeral)
            return;
        if (const auto removed = DataPlane::detach(options_.pins); !removed)
            log_.error("what was begun could not be removed: {}", describe(removed.error()));
    }

    const RunOptions& options_;
    Log& log_;
    std::unique_ptr<Loop> loop_;
    Aside aside_;
    Aside lists_;
    ServiceManager manager_{*loop_};
    std::unique_ptr<Network> network_;
    std::unique_ptr<Plane> plane_;
    std::unique_ptr<Resolver> resolver_;
    std::unique_ptr<Prober> prober_;
    std::unique_ptr<Controller> controller_;
    std::unique_ptr<FlowTasks> flows_;
    std::unique_ptr<EventLog> event_log_;
    std::unique_ptr<AdminServer> admin_;
    MetricsServer metrics_; // answers from the loop, when there is a controller
    Handle signals_;
    ProgramChoice programs_; // which those interfaces need that are known before there is a data plane
    bool started_ = false;
    int code_ = exit_ok;
};

} // namespace

int run_daemon(const RunOptions& options, Log& log)
{
    allow_many_files();
    std::signal(SIGPIPE, SIG_IGN); // a client that closes early is no reason to end
    log.info("featherlb {}, pid {}, configuration {}", FEATHERLB_VERSION, ::getpid(), options.config_file);
    return Daemon(options, log).run();
}

} // namespace featherlb
