// SPDX-License-Identifier: Apache-2.0
#include "daemon/file_watch.h"

#include <array>
#include <set>
#include <utility>

#include <sys/inotify.h>
#include <unistd.h>

#include "config/backend_file.h"

namespace featherlb {

namespace {

using namespace std::chrono_literals;

constexpr auto settle = 100ms; // a file that is written in place is not read half written, nor at every write
constexpr auto now_and_then = 10s;
constexpr std::uint32_t wanted =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;

} // namespace

FileWatch::FileWatch(Loop& loop, std::function<void()> on_change) : loop_(loop), on_change_(std::move(on_change))
{
}

void FileWatch::follow(Fingerprints files)
{
    files_ = std::move(files);
    timer_.reset();
    events_.reset();
    inotify_.reset();
    if (files_.empty())
        return;
    inotify_ = Fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (inotify_.valid())
        events_ = loop_.on_readable(inotify_.get(), [this] { on_events(); });
    watch_directories();
    look_within(0ms);
}

// Of one that is not there yet nothing comes; the next look tries again.
void FileWatch::watch_directories()
{
    std::set<std::string> directories;
    for (const auto& [path, text] : files_)
        directories.insert(path.substr(0, std::max<std::size_t>(path.rfind('/'), 1)));
    for (const std::string& directory : directories)
        ::inotify_add_watch(inotify_.get(), directory.c_str(), wanted);
}

void FileWatch::on_events()
{
    alignas(inotify_event) std::array<char, 4096> buffer{};
    while (::read(inotify_.get(), buffer.data(), buffer.size()) > 0) {
    }
    look_within(settle);
}

// One timer, which later events do not put off.
void FileWatch::look_within(Loop::Clock::duration delay)
{
    const auto at = loop_.now() + delay;
    if (timer_ && look_at_ <= at)
        return;
    look_at_ = at;
    timer_ = loop_.after(delay, [this] { look(); });
}

void FileWatch::look()
{
    timer_.reset();
    watch_directories();
    bool changed = false;
    for (auto& [path, text] : files_) {
        const std::size_t now = fingerprint_of(path);
        changed = changed || now != text;
        text = now;
    }
    look_within(now_and_then);
    if (changed)
        on_change_(); // may call follow()
}

} // namespace featherlb
