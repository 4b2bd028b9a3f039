// SPDX-License-Identifier: Apache-2.0
#include "daemon/run.h"

#include <csignal>
#include <utility>

#include <sys/resource.h>
#include <unistd.h>

#include "base/loop.h"
#include "daemon/api.h"
#include "daemon/controller.h"
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

int give_up(Log& log, const Error& error)
{
    log.error("{}", describe(error));
    return exit_failed;
}

// The members are in the order of making; later ones use earlier ones.
class Daemon {
public:
    Daemon(const RunOptions& options, Log& log) : options_(options), log_(log), loop_(make_loop()) {}

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
        if (Result<void> opened = open_data_plane(*config); !opened)
            return give_up(log_, opened.error());
        Result<UnixListener> listener =
            UnixListener::open(options_.socket.empty() ? config->admin_socket : options_.socket);
        if (!listener) {
            take_back();
            return give_up(log_, listener.error());
        }
        start(std::move(*config), std::move(*listener));
        return code_;
    }

    int check(const Config& config)
    {
        Result<Machine> machine = read_machine(*network_);
        if (!machine)
            return give_up(log_, machine.error());
        machine->ports = read_host_ports();
        const MachineReport report = check_machine(config, *machine);
        if (report.problems.empty())
            return exit_ok;
        log_lines(log_, ConfigErrors{options_.config_file, report.problems}.format());
        return exit_invalid;
    }

    Result<void> open_data_plane(const Config& config)
    {
        DataPlaneOptions plane;
        plane.pins = options_.ephemeral ? "" : options_.pins;
        plane.sizes.flows_max = config.flows_max;
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

    void start(Config config, UnixListener listener)
    {
        resolver_ = make_resolver(*loop_);
        prober_ = make_prober(*loop_);
        ControllerOptions controller;
        controller.config_file = options_.config_file;
        controller.pins = options_.ephemeral ? "" : options_.pins;
        controller.read_ports = [] { return read_host_ports(); };
        controller.open_sender = open_frame_sender;
        controller_ =
            std::make_unique<Controller>(std::move(controller), *loop_, log_, *network_, *plane_, *resolver_, *prober_);
        ApiTarget target{.status = [this] { return controller_->status(); },
            .reload = [this](Controller::Done done) { controller_->reload(std::move(done)); }};
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
            log_.info("ready (pid {})", ::getpid());
            return;
        }
        code_ = report.result == LoadReport::Result::invalid ? exit_invalid : exit_failed;
        loop_->stop();
    }

    void on_signal(int number)
    {
        if (number == SIGHUP) {
            log_.info("SIGHUP: reloading {}", options_.config_file);
            controller_->reload([](const LoadReport&) {}); // it logs what there is to say
            return;
        }
        log_.info("{}: ending", number == SIGTERM ? "SIGTERM" : "SIGINT");
        loop_->stop();
    }

    void end()
    {
        if (!started_ && !options_.ephemeral)
            return take_back();
        admin_.reset();
        controller_.reset();
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
        controller_.reset();
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
    std::unique_ptr<Network> network_;
    std::unique_ptr<Plane> plane_;
    std::unique_ptr<Resolver> resolver_;
    std::unique_ptr<Prober> prober_;
    std::unique_ptr<Controller> controller_;
    std::unique_ptr<AdminServer> admin_;
    Handle signals_;
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
