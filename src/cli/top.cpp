// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <ctime>
#include <ostream>
#include <thread>
#include <variant>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/utc.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/top_screen.h"
#include "observe/rates.h"
#include "observe/top_text.h"

namespace featherlb::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds status_timeout{5};
constexpr std::size_t plain_width = 100;

volatile std::sig_atomic_t stopped;

void on_stop(int /*signal*/)
{
    stopped = 1;
}

std::string clock_text() // as the clock on the wall
{
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

// What a status could not be had for; the exit code of a first one.
struct Failure {
    Error error;
    int code = exit_failed;
};

std::variant<Status, Failure> fetch(const std::string& socket)
{
    const Result<Reply> reply = ask_daemon(socket, "GET", "/v1/status", status_timeout);
    if (!reply)
        return Failure{reply.error(), exit_unreachable};
    const nlohmann::json json = nlohmann::json::parse(reply->body, nullptr, false);
    if (reply->code != 200 || !json.is_object())
        return Failure{{fmt::format("{} does not answer as featherlb does", socket), "check --socket"}, exit_failed};
    return json.get<Status>();
}

// The next status is due an interval after the last one was asked for; one that takes long is not asked for all the
// time.
class Pace {
public:
    explicit Pace(std::chrono::seconds interval) : interval_(interval) {}
    void asked(Clock::time_point begun)
    {
        const auto now = Clock::now();
        next_ = std::max(begun + interval_, now + (now - begun));
    }
    [[nodiscard]] std::chrono::milliseconds left() const
    {
        return std::max(
            std::chrono::ceil<std::chrono::milliseconds>(next_ - Clock::now()), std::chrono::milliseconds(0));
    }

private:
    std::chrono::seconds interval_;
    Clock::time_point next_{};
};

// Without a screen: a block of text, or a line of JSON, each time. The first has no rates yet and is left out.
int print_all(const Arguments& arguments, const std::string& socket, Streams streams)
{
    Rates rates;
    Pace pace(arguments.interval);
    for (std::uint64_t shown = 0; stopped == 0 && streams.out && (!arguments.count || shown < *arguments.count);) {
        const auto begun = Clock::now();
        std::variant<Status, Failure> got = fetch(socket);
        if (const auto* failure = std::get_if<Failure>(&got))
            return complain(streams.err, failure->error, failure->code);
        rates.take(std::move(std::get<Status>(got)), begun);
        pace.asked(begun);
        if (rates.seconds() > 0) {
            if (arguments.json) {
                streams.out << write_rates(rates, utc_now()) << '\n';
            } else {
                TopView view{.width = plain_width, .keys = false, .clock = clock_text()};
                for (const TopLine& line : draw_top(rates, view))
                    streams.out << line.text.substr(0, line.text.find_last_not_of(' ') + 1) << '\n';
                streams.out << '\n';
            }
            streams.out.flush();
            ++shown;
            if (shown == arguments.count)
                break;
        }
        while (stopped == 0 && pace.left().count() > 0)
            std::this_thread::sleep_for(std::min(pace.left(), std::chrono::milliseconds(100)));
    }
    return exit_ok;
}

void turn(TopView& view)
{
    if (view.selected_service.empty())
        return;
    if (view.turned.erase(view.selected_service) == 0)
        view.turned.insert(view.selected_service);
}

// False: it is to end.
bool obey(TopKey key, TopView& view)
{
    const std::size_t last = view.rows == 0 ? 0 : view.rows - 1;
    const std::size_t page = view.height > 8 ? view.height - 8 : 1;
    switch (key) {
    case TopKey::quit:
        return false;
    case TopKey::up:
        view.selected -= view.selected > 0 ? 1 : 0;
        break;
    case TopKey::down:
        view.selected = std::min(view.selected + 1, last);
        break;
    case TopKey::page_up:
        view.selected -= std::min(view.selected, page);
        break;
    case TopKey::page_down:
        view.selected = std::min(view.selected + page, last);
        break;
    case TopKey::home:
        view.selected = 0;
        break;
    case TopKey::end:
        view.selected = last;
        break;
    case TopKey::turn:
        turn(view);
        break;
    case TopKey::order:
        view.order = view.order == TopOrder::bits ? TopOrder::configured
                                                  : static_cast<TopOrder>(static_cast<int>(view.order) + 1);
        break;
    case TopKey::pause:
        view.paused = !view.paused;
        break;
    default:
        break;
    }
    return true;
}

void watch(const Arguments& arguments, const std::string& socket, TopScreen& screen, Status first)
{
    Rates rates;
    rates.take(std::move(first), Clock::now());
    TopView view{.unicode = screen.unicode()};
    Pace pace(arguments.interval);
    pace.asked(Clock::now());
    std::uint64_t shown = 0;
    const auto draw = [&] {
        view.width = screen.width();
        view.height = screen.height();
        screen.show(draw_top(rates, view));
    };
    view.clock = clock_text();
    for (;;) {
        draw();
        const TopKey key = screen.key(pace.left());
        if (stopped != 0 || !obey(key, view))
            return;
        if (pace.left().count() > 0)
            continue;
        const auto begun = Clock::now();
        std::variant<Status, Failure> got = fetch(socket);
        pace.asked(begun);
        if (stopped != 0)
            return;
        if (const auto* failure = std::get_if<Failure>(&got)) {
            view.notice = "trying again: " + failure->error.message; // it may be restarting
            continue;
        }
        view.notice.clear();
        if (!view.paused) {
            view.clock = clock_text();
            rates.take(std::move(std::get<Status>(got)), begun);
            if (++shown == arguments.count)
                return draw();
        }
    }
}

} // namespace

int top(const Arguments& arguments, Streams streams)
{
    stopped = 0;
    struct sigaction action {};
    action.sa_handler = on_stop; // no SA_RESTART: what waits ends
    for (const int signal : {SIGINT, SIGTERM, SIGHUP})
        static_cast<void>(::sigaction(signal, &action, nullptr));
    const std::string socket = socket_of(arguments);
    if (arguments.json || ::isatty(STDOUT_FILENO) == 0 || ::isatty(STDIN_FILENO) == 0)
        return print_all(arguments, socket, streams);
    std::variant<Status, Failure> first = fetch(socket); // before the screen is taken: errors stay to be read
    if (const auto* failure = std::get_if<Failure>(&first))
        return complain(streams.err, failure->error, failure->code);
    const std::unique_ptr<TopScreen> screen = TopScreen::open();
    if (screen == nullptr)
        return print_all(arguments, socket, streams);
    watch(arguments, socket, *screen, std::move(std::get<Status>(first)));
    return exit_ok;
}

} // namespace featherlb::cli
