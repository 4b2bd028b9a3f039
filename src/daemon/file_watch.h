// SPDX-License-Identifier: Apache-2.0
// FileWatch: tells when the text of a file has become another one. The directories are watched by inotify, so that a
// file that is replaced by rename, or by a symbolic link that points elsewhere, is seen; and all are looked at now and
// then, for file systems that tell nothing.
//
// Thread rule: the loop's thread. Loop must outlive it.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "base/fd.h"
#include "base/loop.h"

namespace featherlb {

class FileWatch {
public:
    using Fingerprints = std::map<std::string, std::size_t>; // by path; see config/backend_file.h

    FileWatch(Loop& loop, std::function<void()> on_change);

    // From now on these files, which had these texts when they were read. A text that is another one by now is told of.
    void follow(Fingerprints files);

private:
    void watch_directories();
    void on_events();
    void look_within(Loop::Clock::duration delay);
    void look();

    Loop& loop_;
    std::function<void()> on_change_;
    Fingerprints files_;
    Fd inotify_;
    Handle events_; // refers to inotify_: goes before it
    Handle timer_;
    Loop::Clock::time_point look_at_{};
};

} // namespace featherlb
