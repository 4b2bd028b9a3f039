// SPDX-License-Identifier: Apache-2.0
#include "daemon/stream.h"

#include <cerrno>

#include <sys/socket.h>

#include "daemon/sockets.h"

namespace featherlb {

namespace {

class PlainStream : public Stream {
public:
    Moved send(int socket, std::string_view bytes) override
    {
        return moved(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), Wants::writing);
    }
    Moved receive(int socket, std::span<char> room) override
    {
        const ssize_t got = ::recv(socket, room.data(), room.size(), 0);
        Moved result = moved(got, Wants::reading);
        result.ended = got == 0;
        return result;
    }

private:
    static Moved moved(ssize_t bytes, Wants otherwise)
    {
        if (bytes >= 0)
            return {.bytes = static_cast<std::size_t>(bytes)};
        if (errno == EAGAIN || errno == EINTR)
            return {.wants = otherwise};
        return {.failure = result_of(errno)};
    }
};

} // namespace

std::unique_ptr<Stream> make_plain_stream()
{
    return std::make_unique<PlainStream>();
}

} // namespace featherlb
