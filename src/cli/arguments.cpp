// SPDX-License-Identifier: Apache-2.0
#include "cli/arguments.h"

#include <algorithm>
#include <array>
#include <tuple>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/text.h"
#include "cli/decap_words.h"
#include "cli/event_words.h"
#include "config/section.h"
#include "config/values.h"

namespace featherlb::cli {

namespace {

constexpr const char* hint = "try `featherlb --help`";

bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// Options of a command. Each writes to where Arguments keeps it.
class Parser {
public:
    Parser()
    {
        app_.set_help_flag("-h,--help", "show this help");
        app_.allow_extras(); // unknown words are told by complain(), which knows what was meant
        app_.footer("Exit codes: 0 done, 1 failed, 2 wrong usage, 3 invalid configuration, 4 daemon unreachable.\n"
                    "`featherlb COMMAND --help` shows the options of a command.");
        add_run();
        add_check();
        add_plan();
        add_reload();
        add_status();
        add_top();
        add_flows();
        add_events();
        add_overrides();
        add_detach();
        add_backend_setup();
        add_decap();
        add_version();
    }

    std::variant<Arguments, EarlyExit> parse(const std::vector<std::string>& words)
    {
        try {
            std::vector<std::string> reversed(words.rbegin(), words.rend()); // as CLI11 wants them
            app_.parse(reversed);
        } catch (const CLI::CallForHelp&) {
            return EarlyExit{exit_ok, help()};
        } catch (const CLI::ParseError& error) {
            return usage(error.what());
        }
        const auto chosen = app_.get_subcommands();
        const std::vector<std::string> extras = app_.remaining(true);
        if (!extras.empty())
            return usage(complain(extras.front(), chosen));
        if (chosen.empty())
            return usage("a command is missing: " + command_names());
        if (chosen.size() > 1)
            return usage(fmt::format(
                "one command at a time: {} or {}", quote(chosen[0]->get_name()), quote(chosen[1]->get_name())));
        const auto level = parse_log_level(log_level_);
        if (!level)
            return usage(
                fmt::format("--log-level {} is unknown; use debug, info, warning or error", quote(log_level_)));
        arguments_.log_level = *level;
        if (arguments_.command == Command::decap)
            if (const std::string problem = decap_.finish(arguments_.decap_options); !problem.empty())
                return usage(problem);
        if (arguments_.command == Command::flows)
            if (const std::string problem = flows_.finish(arguments_.flows); !problem.empty())
                return usage(problem);
        if (arguments_.command == Command::drain || arguments_.command == Command::undrain ||
            arguments_.command == Command::weight)
            if (const std::string problem = finish_overrides(); !problem.empty())
                return usage(problem);
        if (!interval_.empty()) {
            const auto interval = parse_duration(interval_);
            if (!interval || interval->count() < 1)
                return usage(fmt::format("--interval {} is no duration such as 1s, 10s or 1m", quote(interval_)));
            arguments_.interval = *interval;
        }
        if (arguments_.command == Command::events)
            if (const std::string problem = events_.finish(arguments_); !problem.empty())
                return usage(problem);
        arguments_.decap_options.json = arguments_.json;
        return arguments_;
    }

private:
    CLI::App* add(Command command, const char* name, const char* what)
    {
        CLI::App* sub = app_.add_subcommand(name, what);
        sub->callback([this, command] { arguments_.command = command; });
        return sub;
    }
    void add_config(CLI::App* sub)
    {
        sub->add_option("-c,--config", arguments_.config_file, "the configuration")
            ->type_name("FILE")
            ->capture_default_str();
    }
    void add_socket(CLI::App* sub)
    {
        sub->add_option("--socket", arguments_.socket, "the admin socket (default: as configured)")->type_name("PATH");
    }
    void add_pins(CLI::App* sub)
    {
        sub->add_option("--pins", arguments_.pins, "where the data plane is pinned; on a BPF file system")
            ->type_name("DIR")
            ->capture_default_str();
    }
    void add_json(CLI::App* sub) { sub->add_flag("--json", arguments_.json, "print JSON"); }

    void add_run()
    {
        CLI::App* run = add(Command::run, "run", "run the daemon in the foreground");
        add_config(run);
        add_socket(run);
        add_pins(run);
        run->add_option("--log-level", log_level_, "debug, info, warning or error")
            ->type_name("LEVEL")
            ->capture_default_str();
        run->add_flag("--ephemeral", arguments_.ephemeral,
            "pin nothing: stop forwarding when the daemon ends (demo, containers)");
    }
    void add_check()
    {
        CLI::App* check = add(Command::check, "check", "say what is wrong with the configuration");
        add_config(check);
        check->add_flag("--offline", arguments_.offline, "look only at the file, not at this machine");
        add_json(check);
    }
    void add_plan()
    {
        CLI::App* plan = add(Command::plan, "plan", "say what a reload would change; changes nothing");
        add_config(plan);
        add_socket(plan);
        add_json(plan);
    }
    void add_reload()
    {
        CLI::App* reload = add(Command::reload, "reload", "make the daemon read its configuration again");
        add_config(reload);
        add_socket(reload);
        add_json(reload);
    }
    void add_status()
    {
        CLI::App* status = add(Command::status, "status", "show what the daemon does");
        add_config(status);
        add_socket(status);
        add_json(status);
    }
    void add_top()
    {
        CLI::App* top = add(Command::top, "top", "watch rates, connections and health");
        top->add_option("--interval", interval_, "from one look to the next (default: 1s)")->type_name("DURATION");
        top->add_option("--count", arguments_.count, "end after so many looks")
            ->type_name("N")
            ->check(CLI::PositiveNumber);
        add_config(top);
        add_socket(top);
        add_json(top);
    }
    void add_flows()
    {
        CLI::App* flows = add(Command::flows, "flows", "list, count or end connections");
        flows_.add_to(*flows, arguments_.flows);
        add_config(flows);
        add_socket(flows);
        add_json(flows);
    }
    void add_events()
    {
        CLI::App* events = add(Command::events, "events",
            "show drops, and backends given to connections, as they happen; a sample where there are many");
        events_.add_to(*events);
        add_config(events);
        add_socket(events);
        events->add_flag("--json", arguments_.json, "print JSON, a line for each event");
    }
    CLI::App* add_override(Command command, const char* name, const char* what)
    {
        CLI::App* sub = add(command, name, what);
        sub->add_option("backend", arguments_.target, "service and backend, by its name or address")
            ->type_name("SERVICE/BACKEND")
            ->required();
        add_config(sub);
        add_socket(sub);
        add_json(sub);
        return sub;
    }
    void add_overrides()
    {
        CLI::App* drain = add_override(Command::drain, "drain", "let a backend take no new connections");
        drain->add_option("--deadline", deadline_, "end the connections that are left after so long")
            ->type_name("DURATION");
        add_wait(*drain, "return once no connection is left");
        CLI::App* undrain = add_override(Command::undrain, "undrain", "let it take connections again");
        add_wait(*undrain, "return once it is up and has its whole share");
        CLI::App* weight = add_override(Command::weight, "weight", "give a backend another weight");
        weight->add_option("weight", arguments_.weight, "0 to 1000, or `file`: as the file says")
            ->type_name("WEIGHT")
            ->required();
        add_wait(*weight, "return once it is up and has its whole share; with weight 0 once no connection is left");
    }
    void add_wait(CLI::App& to, const char* what)
    {
        to.add_flag("--wait", arguments_.wait, what);
        to.add_option("--timeout", timeout_, "with --wait: give up after so long")->type_name("DURATION");
    }
    // What is wrong with the words of drain and weight; empty if nothing is.
    std::string finish_overrides()
    {
        const std::string& target = arguments_.target;
        const std::size_t slash = target.find('/');
        if (slash == 0 || slash == std::string::npos || slash + 1 == target.size())
            return fmt::format("{} is not SERVICE/BACKEND, such as web/web1", quote(target));
        arguments_.service = target.substr(0, slash);
        arguments_.backend = target.substr(slash + 1);
        const std::string& weight = arguments_.weight;
        const bool digits = !weight.empty() && weight.size() <= 4 && std::ranges::all_of(weight, is_digit);
        if (arguments_.command == Command::weight && weight != "file" &&
            (!digits || std::stoul(weight) > largest_weight))
            return fmt::format("{} is no weight from 0 to 1000, nor `file`", quote(weight));
        for (const auto& [text, option, value] : {std::tuple{&deadline_, "--deadline", &arguments_.deadline},
                 std::tuple{&timeout_, "--timeout", &arguments_.timeout}}) {
            if (!text->empty() && !(*value = parse_duration(*text)))
                return fmt::format("{} {} is no duration such as 90s, 5m or 1h", option, quote(*text));
        }
        if (arguments_.timeout && !arguments_.wait)
            return "--timeout goes with --wait";
        return {};
    }
    void add_detach()
    {
        CLI::App* detach = add(Command::detach, "detach", "remove the data plane that a daemon left behind");
        add_pins(detach);
        add_config(detach);
        add_socket(detach);
        add_json(detach);
    }
    void add_backend_setup()
    {
        CLI::App* setup =
            add(Command::backend_setup, "backend-setup", "print the commands that the backends of a service need");
        setup->add_option("service", arguments_.service, "the service's name")->type_name("SERVICE")->required();
        setup->add_option("--backend", arguments_.backend, "only for this backend")->type_name("NAME");
        add_config(setup);
        add_json(setup);
    }
    void add_decap()
    {
        CLI::App* decap = add(Command::decap, "decap",
            "on a backend: take packets of `ipip` services out of their tunnel, until SIGINT or SIGTERM");
        decap_.add_to(*decap);
        add_json(decap);
    }
    void add_version()
    {
        CLI::App* version = add(Command::version, "version", "show the version");
        add_json(version);
    }

    std::string help() const
    {
        for (const CLI::App* sub : app_.get_subcommands())
            return trimmed(sub->help("featherlb"));
        return trimmed(app_.help());
    }
    static std::string trimmed(std::string text)
    {
        text.erase(text.find_last_not_of('\n') + 1);
        return text;
    }
    static EarlyExit usage(const std::string& what)
    {
        return {exit_usage, fmt::format("featherlb: {}; {}", what, hint)};
    }

    std::vector<std::string> names() const
    {
        std::vector<std::string> all;
        for (const CLI::App* sub : app_.get_subcommands([](const CLI::App*) { return true; }))
            all.push_back(sub->get_name());
        return all;
    }
    std::string command_names() const
    {
        const std::vector<std::string> all = names();
        return join(std::vector<std::string_view>(all.begin(), all.end()));
    }

    // What to say about a word that no command takes.
    std::string complain(const std::string& word, const std::vector<CLI::App*>& chosen) const
    {
        const bool option = word.starts_with("-");
        if (!option && !chosen.empty())
            return fmt::format("{} takes no {}", chosen[0]->get_name(), quote(word));
        std::vector<std::string> candidates = option ? std::vector<std::string>{} : names();
        if (option) {
            for (const CLI::App* sub : chosen.empty() ? all_commands() : as_const(chosen)) {
                for (const CLI::Option* known : sub->get_options()) {
                    for (const std::string& name : known->get_lnames())
                        candidates.push_back("--" + name);
                }
            }
        }
        const std::string bare = word.substr(0, word.find('='));
        const bool elsewhere =
            option && (bare == "-c" || std::find(candidates.begin(), candidates.end(), bare) != candidates.end());
        if (elsewhere)
            return fmt::format("{} belongs after the command", quote(bare));
        const std::vector<std::string_view> views(candidates.begin(), candidates.end());
        const auto meant = closest(bare, views);
        return fmt::format("unknown {} {}{}", option ? "option" : "command", quote(bare),
            meant ? fmt::format("; did you mean {}?", quote(*meant)) : "");
    }
    std::vector<const CLI::App*> all_commands() const
    {
        return app_.get_subcommands([](const CLI::App*) { return true; });
    }
    static std::vector<const CLI::App*> as_const(const std::vector<CLI::App*>& apps)
    {
        return {apps.begin(), apps.end()};
    }

    CLI::App app_{"Layer-4 load balancer that forwards in the kernel", "featherlb"};
    Arguments arguments_;
    DecapWords decap_;
    FlowWords flows_;
    EventWords events_;
    std::string log_level_ = "info";
    std::string deadline_;
    std::string timeout_;
    std::string interval_;
};

} // namespace

std::optional<std::chrono::seconds> parse_duration(const std::string& text)
{
    Problems problems;
    return read_duration(
        {.kind = Node::Kind::scalar, .place = {}, .text = text, .items = {}, .entries = {}}, "", problems);
}

std::variant<Arguments, EarlyExit> parse_arguments(const std::vector<std::string>& words)
{
    return Parser().parse(words);
}

} // namespace featherlb::cli
