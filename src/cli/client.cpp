// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <cerrno>
#include <cstring>
#include <memory>

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace featherlb::cli {

namespace {

constexpr std::size_t longest_body = 256u << 20;

std::size_t append(const char* data, std::size_t, std::size_t size, void* user)
{
    auto& body = *static_cast<std::string*>(user);
    if (body.size() + size > longest_body)
        return 0; // ends the transfer
    body.append(data, size);
    return size;
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

} // namespace

Result<Reply> ask_daemon(
    const std::string& socket, const std::string& method, const std::string& path, std::chrono::seconds timeout)
{
    const std::unique_ptr<CURL, decltype(&::curl_easy_cleanup)> curl(::curl_easy_init(), &::curl_easy_cleanup);
    if (!curl)
        return fail("libcurl does not start");
    Reply reply;
    const std::string url = "http://featherlb" + path;
    ::curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
    ::curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
    ::curl_easy_setopt(curl.get(), CURLOPT_PROXY, ""); // whatever the environment says
    ::curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
    ::curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, static_cast<long>(timeout.count()));
    ::curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append);
    ::curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &reply.body);
    if (method == "POST") {
        ::curl_easy_setopt(curl.get(), CURLOPT_POST, 1L);
        ::curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, 0L);
    }
    if (const CURLcode code = ::curl_easy_perform(curl.get()); code != CURLE_OK)
        return unreachable(socket, code);
    ::curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &reply.code);
    return reply;
}

} // namespace featherlb::cli
