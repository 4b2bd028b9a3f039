// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>

#include <fcntl.h>

#include "cli/commands.h"

namespace {

// Where a standard descriptor is closed, the next file would take its number, and the log would be written into a
// map. What is put there instead refuses: a closed standard output is an error, not silence.
void fill_standard_descriptors()
{
    for (const int fd : {0, 1, 2}) {
        if (::fcntl(fd, F_GETFD) < 0)
            (void)::open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY); // takes the lowest free number: fd
    }
}

} // namespace

int main(int argc, char** argv)
{
    fill_standard_descriptors();
    try {
        return featherlb::cli::main({argv + (argc > 0 ? 1 : 0), argv + argc}, {std::cout, std::cerr});
    } catch (const std::exception& error) {
        std::cerr << "featherlb: broken invariant: " << error.what() << "; please report this\n";
        return featherlb::exit_failed;
    }
}
