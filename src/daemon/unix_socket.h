// SPDX-License-Identifier: Apache-2.0
// A listening Unix socket at a path, for whom `access` says, in a directory that is made (0755) where it is missing. A
// socket that a killed daemon left is replaced, one that answers is not. The file goes with the object, if it still is
// ours.
#pragma once

#include <string>

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"
#include "config/config.h"

namespace featherlb {

class UnixListener {
public:
    [[nodiscard]] static Result<UnixListener> open(const std::string& path, const AdminAccess& access = {});
    ~UnixListener();
    UnixListener(UnixListener&& other) noexcept;
    UnixListener& operator=(UnixListener&&) = delete;

    [[nodiscard]] int fd() const { return fd_.get(); } // non-blocking

private:
    UnixListener(Fd fd, std::string path, dev_t device, ino_t inode);
    Fd fd_;
    std::string path_; // empty: moved from
    dev_t device_;
    ino_t inode_;
};

} // namespace featherlb
