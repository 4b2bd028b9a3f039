// SPDX-License-Identifier: Apache-2.0
#include "base/group.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <grp.h>

#include "base/text.h"

namespace featherlb {

namespace {

constexpr std::size_t smallest_entry = 1024;
constexpr std::size_t largest_entry = 16U << 20; // a group of hundreds of thousands of members

} // namespace

Result<gid_t> find_group(const std::string& group)
{
    struct group entry {};
    struct group* found = nullptr;
    int code = ERANGE;
    for (std::size_t size = smallest_entry; code == ERANGE && size <= largest_entry; size *= 4) {
        std::vector<char> buffer(size);
        code = ::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found);
    }
    if (found != nullptr)
        return found->gr_gid;
    gid_t number = 0;
    const char* end = group.data() + group.size();
    if (const auto read = std::from_chars(group.data(), end, number); read.ec == std::errc{} && read.ptr == end)
        return number;
    // Name services say in many ways that there is none.
    if (code == 0 || code == ENOENT || code == ESRCH || code == EBADF || code == EPERM)
        return fail(fmt::format("this machine has no group {}", quote(group)),
            fmt::format("make it with groupadd {}, or name another one", group));
    return fail(fmt::format("cannot look for the group {}: {}", quote(group), std::strerror(code)),
        "name it by its number in quotes");
}

} // namespace featherlb
