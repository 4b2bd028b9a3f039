// SPDX-License-Identifier: Apache-2.0
#include "cli/arguments.h"

#include <algorithm>
#include <array>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/text.h"

namespace featherlb::cli {

namespace {

constexpr const char* hint = "try `featherlb --help`";

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
        add_reload();
        add_status();
        add_detach();
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
    void add_detach()
    {
        CLI::App* detach = add(Command::detach, "detach", "remove the data plane that a daemon left behind");
        add_pins(detach);
        add_config(detach);
        add_socket(detach);
        add_json(detach);
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
    std::string log_level_ = "info";
};

} // namespace

std::variant<Arguments, EarlyExit> parse_arguments(const std::vector<std::string>& words)
{
    return Parser().parse(words);
}

} // namespace featherlb::cli
