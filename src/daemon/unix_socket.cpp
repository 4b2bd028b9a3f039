// SPDX-License-Identifier: Apache-2.0
#include "daemon/unix_socket.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/group.h"

namespace featherlb {

namespace {

constexpr int backlog = 1024;
constexpr const char* other_place = "name another path by --socket or admin.socket";

tl::unexpected<Error> failed(const std::string& path, std::string_view what, const char* remedy)
{
    return fail(fmt::format("admin socket {}: {}: {}", path, what, std::strerror(errno)), remedy);
}

Fd new_socket(int flags)
{
    return Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
}

const sockaddr* generic(const sockaddr_un& address)
{
    return reinterpret_cast<const sockaddr*>(&address);
}

Result<void> make_parent(const std::string& path)
{
    const std::filesystem::path directory = std::filesystem::path(path).parent_path();
    if (directory.empty())
        return {};
    std::error_code error;
    const mode_t old_mask = ::umask(0022);
    std::filesystem::create_directories(directory, error);
    ::umask(old_mask);
    if (error)
        return fail(fmt::format("admin socket {}: cannot make the directory: {}", path, error.message()),
            fmt::format("run as root, or {}", other_place));
    return {};
}

// Takes away what a killed daemon left.
Result<void> clear_place(const std::string& path, const sockaddr_un& address)
{
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0)
        return errno == ENOENT ? Result<void>{} : failed(path, "cannot look at it", other_place);
    if (!S_ISSOCK(info.st_mode))
        return fail(fmt::format("admin socket {}: something else than a socket is there", path), other_place);
    const Fd probe = new_socket(SOCK_NONBLOCK);
    if (!probe.valid())
        return failed(path, "cannot make a socket", "");
    if (::connect(probe.get(), generic(address), sizeof address) == 0 || errno == EAGAIN)
        return fail(fmt::format("admin socket {}: another featherlb answers there", path),
            fmt::format("stop it first, or {}", other_place));
    if (errno != ECONNREFUSED && errno != ENOENT)
        return failed(path, "cannot find out whether another daemon is there", other_place);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
        return failed(path, "cannot remove the stale one", "remove it by hand");
    return {};
}

Result<void> give_to_group(const std::string& path, const std::string& group)
{
    if (group.empty())
        return {};
    const Result<gid_t> id = find_group(group);
    if (!id)
        return fail("admin.group: " + id.error().message, id.error().remedy);
    if (::lchown(path.c_str(), static_cast<uid_t>(-1), *id) != 0)
        return failed(path, fmt::format("cannot be given to the group {}", group),
            "give the daemon CAP_CHOWN or that group (systemd: SupplementaryGroups=), or leave admin.group away");
    return {};
}

} // namespace

Result<UnixListener> UnixListener::open(const std::string& path, const AdminAccess& access)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(fmt::format("admin socket \"{}\": the path has {} bytes; 1 to {} are possible", path, path.size(),
                        sizeof address.sun_path - 1),
            other_place);
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (Result<void> made = make_parent(path); !made)
        return fail(std::move(made.error()));
    if (Result<void> cleared = clear_place(path, address); !cleared)
        return fail(std::move(cleared.error()));
    Fd fd = new_socket(SOCK_NONBLOCK);
    if (!fd.valid())
        return failed(path, "cannot make a socket", "");
    // The mask keeps others out between bind and chmod.
    const mode_t old_mask = ::umask(0177);
    const int bound = ::bind(fd.get(), generic(address), sizeof address);
    const int bind_error = errno;
    ::umask(old_mask);
    errno = bind_error;
    if (bound != 0)
        return failed(path, "cannot be made", other_place);
    if (Result<void> given = give_to_group(path, access.group); !given) {
        ::unlink(path.c_str());
        return fail(std::move(given.error()));
    }
    struct stat info {};
    if (::fchmodat(AT_FDCWD, path.c_str(), access.mode, AT_SYMLINK_NOFOLLOW) != 0 || ::listen(fd.get(), backlog) != 0 ||
        ::lstat(path.c_str(), &info) != 0) {
        const int error = errno;
        ::unlink(path.c_str());
        errno = error;
        return failed(path, "cannot be set up", other_place);
    }
    return UnixListener(std::move(fd), path, info.st_dev, info.st_ino);
}

UnixListener::UnixListener(Fd fd, std::string path, dev_t device, ino_t inode)
    : fd_(std::move(fd)), path_(std::move(path)), device_(device), inode_(inode)
{
}

UnixListener::UnixListener(UnixListener&& other) noexcept
    : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_)
{
}

UnixListener::~UnixListener()
{
    struct stat info {};
    if (!path_.empty() && ::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_)
        ::unlink(path_.c_str());
}

} // namespace featherlb
