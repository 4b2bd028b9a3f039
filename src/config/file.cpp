// SPDX-License-Identifier: Apache-2.0
#include "config/file.h"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "base/fd.h"

namespace featherlb {

namespace {

constexpr Place whole_file{1, 1};
constexpr std::string_view other_file = "name another file with -c FILE";

std::string explain(int error)
{
    return std::generic_category().message(error);
}

Problem cannot_open(int error)
{
    switch (error) {
    case ENOENT:
        return {whole_file, "there is no such file", fmt::format("create it, or {}", other_file)};
    case EACCES:
    case EPERM:
        return {whole_file, "permission denied", "give this user read access to the file and its directories"};
    default:
        return {whole_file, fmt::format("cannot open the file: {}", explain(error)), std::string(other_file)};
    }
}

std::string_view kind_of(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a pipe";
    return S_ISSOCK(mode) ? "a socket" : "a device";
}

} // namespace

Problem too_large(std::size_t size)
{
    return {whole_file, fmt::format("the file is larger than {} MiB ({} bytes)", largest_file >> 20, size),
        "check that it is the right file; a thousand backends need about 60 KiB, 100,000 networks about 3 MiB"};
}

tl::expected<std::string, Problem> read_config_file(const std::string& path)
{
    // O_NONBLOCK: opening a FIFO must not wait for a writer. It means nothing for a regular file.
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!file.valid())
        return tl::unexpected(cannot_open(errno));
    struct stat status {};
    if (::fstat(file.get(), &status) != 0)
        return tl::unexpected(cannot_open(errno));
    if (!S_ISREG(status.st_mode))
        return tl::unexpected(
            Problem{whole_file, fmt::format("is {}, not a file", kind_of(status.st_mode)), std::string(other_file)});
    if (static_cast<std::size_t>(status.st_size) > largest_file)
        return tl::unexpected(too_large(static_cast<std::size_t>(status.st_size)));
    // Read to the end rather than to st_size: files of /proc have none, and the file may be growing.
    std::string text;
    std::size_t used = 0;
    while (true) {
        text.resize(used + 65536);
        const ssize_t count = ::read(file.get(), text.data() + used, text.size() - used);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return tl::unexpected(
                Problem{whole_file, fmt::format("cannot read the file: {}", explain(errno)), std::string(other_file)});
        used += static_cast<std::size_t>(count);
        if (count == 0)
            break;
        if (used > largest_file)
            return tl::unexpected(too_large(used));
    }
    text.resize(used);
    return text;
}

} // namespace featherlb
