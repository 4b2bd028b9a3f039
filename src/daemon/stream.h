// SPDX-License-Identifier: Apache-2.0
// Stream: how the bytes of a conversation go over its socket, which does not block: as they are, or through TLS
// (tls_stream.h).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "daemon/health_state.h"

namespace featherlb {

class Stream {
public:
    enum class Wants { reading, writing };
    // What came of one attempt.
    struct Moved {
        std::size_t bytes = 0;
        bool ended = false;         // received: no more will come
        std::optional<Wants> wants; // nothing was moved; again when the socket can do this
        std::optional<CheckResult> failure{};
    };

    virtual ~Stream() = default;
    virtual Moved send(int socket, std::string_view bytes) = 0;
    virtual Moved receive(int socket, std::span<char> room) = 0;
    // What it waits for before bytes can be moved; empty: nothing.
    [[nodiscard]] virtual std::string_view waits_for() const { return {}; }
};

[[nodiscard]] std::unique_ptr<Stream> make_plain_stream();

} // namespace featherlb
