// SPDX-License-Identifier: Apache-2.0
// `featherlb events`: asks for what came since it asked last, again and again. The daemon has nothing of it in mind, so
// it may end at any time, by any signal.
#include <atomic>
#include <csignal>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/commands.h"

namespace featherlb::cli {

namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto wait_at_daemon = 2s; // the programs go on for so long, and a little more, where we are killed
constexpr auto poll_timeout = 15s;
constexpr auto say_left_out_every = 1s;

volatile std::sig_atomic_t interrupted = 0;

// SIGINT and SIGTERM end the waiting, not the process, as long as this lives.
class Interruptible {
public:
    Interruptible()
    {
        interrupted = 0;
        struct sigaction action {};
        action.sa_handler = [](int) { interrupted = 1; };
        ::sigemptyset(&action.sa_mask);
        ::sigaction(SIGINT, &action, &before_int_);
        ::sigaction(SIGTERM, &action, &before_term_);
    }
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;
    ~Interruptible()
    {
        ::sigaction(SIGINT, &before_int_, nullptr);
        ::sigaction(SIGTERM, &before_term_, nullptr);
    }

private:
    struct sigaction before_int_ {
    }, before_term_{};
};

// Nobody reads what we would write: `featherlb events | head -3`.
bool reader_is_gone(const Streams& streams)
{
    pollfd out{.fd = STDOUT_FILENO, .events = 0, .revents = 0};
    return &streams.out == &std::cout && ::poll(&out, 1, 0) > 0 && (out.revents & POLLERR) != 0;
}

class Following {
public:
    Following(const Arguments& arguments, Streams streams)
        : arguments_(arguments), streams_(streams), socket_(socket_of(arguments))
    {
    }

    int run()
    {
        for (;;) {
            const Result<Reply> reply =
                ask_daemon_until(socket_, path(), poll_timeout, [this] { return has_to_end(); });
            if (!reply)
                return complain(streams_.err, reply.error(), exit_unreachable);
            if (reply->code == 0)
                return end(exit_ok);
            if (const int code = take(*reply); code != exit_ok)
                return end(code);
            if (shown_ >= arguments_.count.value_or(~0ull) || has_to_end() || !streams_.out)
                return end(exit_ok);
        }
    }

private:
    bool has_to_end() const
    {
        return interrupted != 0 || (arguments_.how_long && Clock::now() - begun_ >= *arguments_.how_long) ||
               reader_is_gone(streams_);
    }

    std::string path() const
    {
        const EventFilter& filter = arguments_.filter;
        std::string path = fmt::format("/v1/events?wait={}", wait_at_daemon.count());
        const std::string client = filter.client ? filter.client->to_string() : "";
        for (const auto& [name, value] : {std::pair{"kind", &filter.kind}, std::pair{"reason", &filter.reason},
                 std::pair{"service", &filter.service}, std::pair{"client", &client}, std::pair{"after", &next_}})
            if (!value->empty())
                path += fmt::format("&{}={}", name, escape(*value));
        return path;
    }

    int take(const Reply& reply)
    {
        const nlohmann::json json = nlohmann::json::parse(reply.body, nullptr, false);
        if (json.is_object() && json.contains("error") && json["error"].is_string())
            return complain(streams_.err, {json["error"].get<std::string>(), ""}, exit_failed);
        try {
            for (const nlohmann::json& event : json.at("events")) {
                if (shown_ >= arguments_.count.value_or(~0ull))
                    break;
                show(event);
            }
            left_out_ += json.at("left_out").get<std::uint64_t>();
            next_ = json.at("next").get<std::string>();
        } catch (const nlohmann::json::exception&) {
            return complain(streams_.err,
                {fmt::format("{} does not answer as featherlb does", socket_), "check --socket"}, exit_failed);
        }
        if (Clock::now() - said_ >= say_left_out_every)
            say_left_out();
        streams_.out.flush();
        return exit_ok;
    }

    void show(const nlohmann::json& event)
    {
        if (arguments_.json)
            streams_.out << event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
        else
            streams_.out << format_event(event.get<Event>()) << '\n';
        ++shown_;
    }

    void say_left_out()
    {
        if (left_out_ == 0)
            return;
        if (arguments_.json)
            streams_.out << fmt::format("{{\"left_out\":{}}}\n", left_out_);
        else
            streams_.err << fmt::format("featherlb: {} more were not sampled\n", left_out_);
        left_out_ = 0;
        said_ = Clock::now();
    }

    int end(int code)
    {
        say_left_out();
        return code;
    }

    const Arguments& arguments_;
    Streams streams_;
    std::string socket_;
    std::string next_; // where the next answer goes on
    std::uint64_t shown_ = 0;
    std::uint64_t left_out_ = 0; // that nothing was said of
    Clock::time_point begun_ = Clock::now(), said_ = begun_;
};

} // namespace

int events(const Arguments& arguments, Streams streams)
{
    const Interruptible interruptible;
    return Following(arguments, streams).run();
}

} // namespace featherlb::cli
