// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <cctype>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

namespace featherlb::cli {

namespace {

constexpr long service_unavailable = 503; // HTTP: it answers so while it ends

constexpr std::size_t longest_body = 256u << 20;

std::size_t append(const char* data, std::size_t, std::size_t size, void* user)
{
    auto& body = *static_cast<std::string*>(user);
    if (body.size() + size > longest_body)
        return 0; // ends the transfer
    body.append(data, size);
    return size;
}

// Whether somebody listens who has not let in all that wait yet.
bool is_busy(const std::string& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return fd.valid() &&
           (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno == EAGAIN);
}

// libcurl gives up at once where too many wait to be let in.
CURLcode perform(const std::string& socket, CURL* curl, std::chrono::seconds timeout, const std::function<bool()>& stop)
{
    const auto end = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const CURLcode code = ::curl_easy_perform(curl);
        if (code != CURLE_COULDNT_CONNECT || !is_busy(socket))
            return code;
        if (stop && stop())
            return CURLE_ABORTED_BY_CALLBACK;
        if (std::chrono::steady_clock::now() >= end)
            return CURLE_OPERATION_TIMEDOUT;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

tl::unexpected<Error> unreachable(const std::string& socket, CURLcode code)
{
    const std::string what = fmt::format("no daemon answers at {}", socket);
    struct stat info {};
    if (socket.size() >= sizeof(sockaddr_un::sun_path))
        return fail(fmt::format("{}: the path is too long", what), "name the daemon's socket by --socket");
    if (::stat(socket.c_str(), &info) != 0 && errno == EACCES)
        return fail(fmt::format("{}: permission denied", what), "run as root or in the group of the socket");
    if (::stat(socket.c_str(), &info) != 0)
        return fail(fmt::format("{}: {}", what, std::strerror(errno)),
            "start it by `featherlb run`, or name its socket by --socket");
    if (::access(socket.c_str(), W_OK) != 0)
        return fail(fmt::format("{}: permission denied", what), "run as root or in the group of the socket");
    if (code == CURLE_OPERATION_TIMEDOUT)
        return fail(fmt::format("{} in time", what), "look at its log");
    if (code == CURLE_COULDNT_CONNECT)
        return fail(what + ": the socket is left from one that was killed, or is no daemon's",
            "start it by `featherlb run`, or name its socket by --socket");
    return fail(fmt::format("{}: {}", what, ::curl_easy_strerror(code)), "look at its log");
}

int ask_stop(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t)
{
    return (*static_cast<const std::function<bool()>*>(stop))() ? 1 : 0;
}

using Curl = std::unique_ptr<CURL, decltype(&::curl_easy_cleanup)>;

// Ready to ask, but for the method.
Curl prepare(const std::string& socket, const std::string& path, std::chrono::seconds timeout, Reply& reply)
{
    Curl curl(::curl_easy_init(), &::curl_easy_cleanup);
    if (!curl)
        return curl;
    const std::string url = "http://featherlb" + path;
    ::curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
    ::curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    ::curl_easy_setopt(curl.get(), CURLOPT_PROXY, ""); // whatever the environment says
    ::curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    ::curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(timeout.count()));
    ::curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append);
    ::curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &reply.body);
    return curl;
}

Result<Reply> finished(const std::string& socket, const Curl& curl, Reply reply)
{
    ::curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &reply.code);
    if (reply.code == service_unavailable)
        return fail(fmt::format("the daemon at {} is ending", socket), "start it again by `featherlb run`");
    return reply;
}

} // namespace

Result<Reply> ask_daemon(const std::string& socket, const std::string& method, const std::string& path,
    std::chrono::seconds timeout, const std::string& body)
{
    Reply reply;
    const Curl curl = prepare(socket, path, timeout, reply);
    if (!curl)
        return fail("libcurl does not start");
    if (method == "POST") {
        ::curl_easy_setopt(curl.get(), CURLOPT_POST, 1L);
        ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
        ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
    }
    if (const CURLcode code = perform(socket, curl.get(), timeout, {}); code != CURLE_OK)
        return unreachable(socket, code);
    return finished(socket, curl, std::move(reply));
}

Result<Reply> ask_daemon_until(
    const std::string& socket, const std::string& path, std::chrono::seconds timeout, const std::function<bool()>& stop)
{
    Reply reply;
    const Curl curl = prepare(socket, path, timeout, reply);
    if (!curl)
        return fail("libcurl does not start");
    ::curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
    ::curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, &ask_stop);
    ::curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &stop);
    const CURLcode code = perform(socket, curl.get(), timeout, stop);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return Reply{};
    if (code != CURLE_OK)
        return unreachable(socket, code);
    return finished(socket, curl, std::move(reply));
}

std::string escape(const std::string& text)
{
    std::string escaped;
    for (const char c : text) {
        if (std::isalnum(static_cast<unsigned char>(c)) != 0 || std::strchr("-._~", c) != nullptr)
            escaped += c;
        else
            escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return escaped;
}

} // namespace featherlb::cli
