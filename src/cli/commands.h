// SPDX-License-Identifier: Apache-2.0
// The commands, one file each. Each gives its exit code; what it found goes to `out`, what is wrong to `err`, a line
// for each problem.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <variant>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "cli/arguments.h"

namespace featherlb::cli {

struct Streams {
    std::ostream& out;
    std::ostream& err;
};

[[nodiscard]] int run(const Arguments& arguments);
[[nodiscard]] int check(const Arguments& arguments, Streams streams);
[[nodiscard]] int plan(const Arguments& arguments, Streams streams);
[[nodiscard]] int reload(const Arguments& arguments, Streams streams);
[[nodiscard]] int status(const Arguments& arguments, Streams streams);
[[nodiscard]] int top(const Arguments& arguments, Streams streams);
[[nodiscard]] int flows(const Arguments& arguments, Streams streams);
[[nodiscard]] int events(const Arguments& arguments, Streams streams);
// Of one backend (drain, undrain, weight).
[[nodiscard]] int override_backend(const Arguments& arguments, Streams streams);
[[nodiscard]] int detach(const Arguments& arguments, Streams streams);
[[nodiscard]] int backend_setup(const Arguments& arguments, Streams streams);
[[nodiscard]] int decap(const Arguments& arguments, Streams streams);
[[nodiscard]] int version(const Arguments& arguments, Streams streams);

// The command that `words` (without the program's name) ask for. Fails with 1 where `out` cannot be written.
[[nodiscard]] int main(const std::vector<std::string>& words, Streams streams);

// ---- shared by the commands ----

// --socket, else what the configuration names, else the default.
[[nodiscard]] std::string socket_of(const Arguments& arguments);
struct Question {
    const char* method;
    const char* path;
    std::string body;
};
// What the daemon answers, its warnings printed; or an exit code, and why is said. The answer has a `result`.
[[nodiscard]] std::variant<nlohmann::json, int> ask_daemon(
    const Arguments& arguments, const Question& question, Streams streams);
[[nodiscard]] int complain(std::ostream& err, const Error& error, int code);
void print(std::ostream& out, const nlohmann::json& json);
// JSON without spaces laid out as print() does it, in one pass.
[[nodiscard]] std::string indent(std::string_view json);

} // namespace featherlb::cli
