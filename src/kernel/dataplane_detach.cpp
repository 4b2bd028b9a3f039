// SPDX-License-Identifier: Apache-2.0
// Removing a pinned data plane without having one: by what lies in the pins directory, whole or not, and by our
// place among the clsact filters of this network namespace.
#include <fmt/format.h>
#include <unistd.h>

#include "kernel/attach.h"
#include "kernel/dataplane.h"
#include "kernel/dataplane_pins.h"
#include "kernel/dataplane_programs.h"

namespace featherlb {

namespace {

// Files and empty directories.
void remove_contents(const std::string& directory, std::string_view what, std::vector<std::string>& removed)
{
    for (const auto& name : names_in(directory)) {
        const std::string path = fmt::format("{}/{}", directory, name);
        if (::unlink(path.c_str()) == 0 || remove_directory(path))
            removed.push_back(fmt::format("{} {}", what, path));
    }
}

} // namespace

Result<std::vector<std::string>> DataPlane::detach(const std::string& pins, const std::string& runtime_directory)
{
    route_libbpf_messages();
    std::vector<std::string> ignored;
    if (auto checked = check_privileges(ignored); !checked)
        return fail(checked.error());
    const PinPaths paths{pins};
    const bool there = exists(paths.root);
    if (there)
        if (auto checked = check_bpf_filesystem(paths.root); !checked)
            return fail(checked.error());
    auto lock = lock_pins(paths.root, runtime_directory);
    if (!lock)
        return fail(lock.error());

    Attachments attachments(paths.links(), {});
    auto removed = attachments.detach_others({});
    if (!removed || !there)
        return removed;
    remove_contents(paths.links(), "link", *removed);
    for (const auto& directory : {paths.maps(), paths.next(), paths.old()})
        remove_contents(directory, "map", *removed);
    for (const auto& name : names_in(paths.root))
        remove_directory(paths.root + "/" + name);
    if (!remove_directory(paths.root))
        return fail(fmt::format("{} is not empty: there is something in it that featherlb did not make", paths.root),
            "look at it and remove it by hand");
    removed->push_back("directory " + paths.root);
    return removed;
}

} // namespace featherlb
