// SPDX-License-Identifier: Apache-2.0
#include "kernel/dataplane_pins.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace featherlb {

namespace {

constexpr const char* capability_remedy =
    "run as root, or with the capabilities CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON (with systemd: "
    "AmbientCapabilities=; with Docker: --cap-add; where CAP_BPF is not known: CAP_NET_ADMIN and CAP_SYS_ADMIN)";

std::uint64_t effective_capabilities()
{
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0)
        return 0;
    return data[0].effective | std::uint64_t{data[1].effective} << 32;
}

bool has(std::uint64_t capabilities, unsigned capability)
{
    return capabilities >> capability & 1;
}

Error system_error(const std::string& doing, int error_number, std::string remedy = {})
{
    return {fmt::format("{}: {}", doing, std::strerror(error_number)), std::move(remedy)};
}

} // namespace

Result<void> check_privileges(std::vector<std::string>& warnings)
{
    const std::uint64_t capabilities = effective_capabilities();
    const bool administrator = has(capabilities, CAP_SYS_ADMIN);
    std::string missing;
    if (!has(capabilities, CAP_NET_ADMIN))
        missing += " CAP_NET_ADMIN";
    if (!has(capabilities, CAP_BPF) && !administrator)
        missing += " CAP_BPF";
    if (!missing.empty())
        return fail("the process may not load packet programs; it lacks" + missing, capability_remedy);
    if (!has(capabilities, CAP_PERFMON) && !administrator)
        warnings.emplace_back("the process lacks CAP_PERFMON: the kernel adds protections to the packet programs that "
                              "make them slower, and may refuse them");
    return {};
}

Result<void> check_bpf_filesystem(const std::string& root)
{
    std::filesystem::path path(root);
    if (!path.is_absolute())
        return fail(fmt::format("the pins directory \"{}\" is not an absolute path", root));
    std::error_code ignored;
    while (!std::filesystem::exists(path, ignored) && path != path.root_path())
        path = path.parent_path();
    struct statfs info {};
    if (::statfs(path.c_str(), &info) != 0)
        return fail(system_error("looking at " + path.string(), errno));
    if (static_cast<std::uint32_t>(info.f_type) != BPF_FS_MAGIC)
        return fail(fmt::format("{} is not on a BPF file system, so the data plane could not outlive the daemon", root),
            "mount one: `mount -t bpf bpf /sys/fs/bpf`; or run with --ephemeral");
    return {};
}

Result<void> make_directory(const std::string& path)
{
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
        const int error = errno;
        return fail(system_error("making the directory " + path, error,
            error == EACCES || error == EPERM || error == EROFS
                ? "the BPF file system must be writable for this user; or run with --ephemeral"
                : ""));
    }
    return {};
}

Result<void> make_directories(const PinPaths& paths)
{
    std::filesystem::path built;
    for (const auto& part : std::filesystem::path(paths.root)) {
        built /= part;
        if (exists(built))
            continue;
        if (auto made = make_directory(built); !made)
            return made;
    }
    if (auto made = make_directory(paths.maps()); !made)
        return made;
    return make_directory(paths.links());
}

bool remove_directory(const std::string& path)
{
    return ::rmdir(path.c_str()) == 0;
}

void remove_pins(const std::string& directory)
{
    for (const auto& name : names_in(directory))
        ::unlink(fmt::format("{}/{}", directory, name).c_str());
    remove_directory(directory);
}

Result<void> rename_directory(const std::string& from, const std::string& to)
{
    if (::rename(from.c_str(), to.c_str()) != 0)
        return fail(system_error(fmt::format("renaming {} to {}", from, to), errno, ""));
    return {};
}

std::vector<std::string> names_in(const std::string& directory)
{
    std::vector<std::string> result;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
         entry.increment(error))
        result.push_back(entry->path().filename().string());
    std::ranges::sort(result);
    return result;
}

bool exists(const std::string& path)
{
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0;
}

Result<Fd> lock_pins(const std::string& root, const std::string& runtime_directory)
{
    if (::mkdir(runtime_directory.c_str(), 0755) != 0 && errno != EEXIST)
        return fail(system_error("making the runtime directory " + runtime_directory, errno,
            "give another one, or make it and hand it to this user"));
    std::string name = std::filesystem::path(root).lexically_normal().string();
    while (name.size() > 1 && name.back() == '/')
        name.pop_back();
    std::ranges::replace(name, '/', '-');
    const std::string path = runtime_directory + "/pins" + name + ".lock";
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file.valid())
        return fail(system_error("opening the lock file " + path, errno));
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return fail(system_error("locking " + path, errno));
        std::array<char, 32> text{};
        const auto length = ::pread(file.get(), text.data(), text.size() - 1, 0);
        return fail(fmt::format("another featherlb{} uses the pins in {}",
                        length > 0 ? fmt::format(" (process {})", text.data()) : "", root),
            "stop it first (`featherlb run` leaves everything forwarding when it ends)");
    }
    const std::string self = std::to_string(::getpid());
    if (::ftruncate(file.get(), 0) != 0 ||
        ::pwrite(file.get(), self.data(), self.size(), 0) != static_cast<ssize_t>(self.size()))
        return fail(system_error("writing " + path, errno));
    return file;
}

Result<std::uint64_t> current_namespace()
{
    const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    std::uint64_t cookie = 0;
    socklen_t length = sizeof(cookie);
    if (!socket.valid() || ::getsockopt(socket.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) != 0)
        return fail(system_error("asking for the network namespace", errno));
    return cookie;
}

std::uint32_t boot_id()
{
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    file >> text;
    std::uint32_t value = 0;
    const std::size_t digits = std::min<std::size_t>(text.size(), 8);
    std::from_chars(text.data() + text.size() - digits, text.data() + text.size(), value, 16);
    return value;
}

} // namespace featherlb
