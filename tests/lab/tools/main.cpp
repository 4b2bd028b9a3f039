// SPDX-License-Identifier: Apache-2.0
// lab_load: what the lab needs faster than Python can do it.
//   serve --name NAME --echo PORT --reply PORT
//   short --to ADDRESS --port PORT --from ADDRESS [--addresses N] [--first-port P --ports N] --count N
//         [--concurrency N] [--timeout-ms N] [--list FILE]
//   hold  --to ADDRESS --port PORT --from ADDRESS [--addresses N] [--first-port P --ports N] --count N//   flood
//   --program PIN --ifindex N --seconds N [--rate N] [--bytes N] [--most N] delay --first DEVICE --second DEVICE --ms N
#include <csignal>
#include <cstdio>
#include <string_view>

#include "net.h"

int main(int argc, char** argv)
{
    std::signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    const std::string_view command = argc > 1 ? argv[1] : "";
    const Arguments arguments(argc, argv);
    if (command == "serve") {
        return serve(arguments);
    }
    if (command == "short") {
        return short_lived(arguments);
    }
    if (command == "hold") {
        return hold(arguments);
    }
    if (command == "flood") {
        return flood(arguments);
    }
    if (command == "delay") {
        return delay(arguments);
    }
    std::fputs("usage: lab_load serve|short|hold|flood|delay --OPTION VALUE ...\n", stderr);
    return 2;
}
