// SPDX-License-Identifier: Apache-2.0
// The admin server on a real socket and the real loop, with clients that do not behave.
#include "daemon/admin.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/client.h"
#include "daemon/api.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

class AdminTest : public testing::Test {
public:
    AdminTest()
    {
        char name[] = "/tmp/featherlb-admin-XXXXXX";
        directory_ = ::mkdtemp(name);
        path_ = directory_ + "/made/admin.sock";
    }
    ~AdminTest() override
    {
        stop();
        std::filesystem::remove_all(directory_);
    }

    void start(AdminServer::Handler handler, AdminLimits limits = {})
    {
        loop_ = make_loop();
        auto listener = UnixListener::open(path_);
        ASSERT_TRUE(listener) << describe(listener.error());
        auto server = AdminServer::start(std::move(*listener), *loop_, std::move(handler), limits);
        ASSERT_TRUE(server);
        server_ = std::move(*server);
        thread_ = std::thread([this] { loop_->run(); });
    }
    void stop()
    {
        if (!thread_.joinable())
            return;
        loop_->post([this] {
            server_.reset();
            loop_->stop();
        });
        thread_.join();
    }
    Fd connect() const
    {
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        const timeval patience{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        return fd;
    }
    static void send(const Fd& fd, std::string_view text)
    {
        (void)::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
    // Until the server closes.
    static std::string read_all(const Fd& fd)
    {
        std::string all;
        char buffer[4096];
        for (ssize_t got = 0; (got = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
            all.append(buffer, static_cast<std::size_t>(got));
        return all;
    }
    Result<cli::Reply> ask(const std::string& method, const std::string& path) const
    {
        return cli::ask_daemon(path_, method, path, 10s);
    }
    static void hello(const AdminRequest& request, const AdminServer::Respond& respond)
    {
        respond({200, request.method + " " + request.path, {}});
    }

    std::string directory_;
    std::string path_;
    std::unique_ptr<Loop> loop_;
    std::unique_ptr<AdminServer> server_;
    std::thread thread_;
};

TEST_F(AdminTest, TheSocketIsForOwnerAndGroupAndGoesWithTheServer)
{
    start(hello);
    struct stat info {};
    ASSERT_EQ(::stat(path_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0660u);
    ASSERT_EQ(::stat((directory_ + "/made").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0755u);
    stop();
    EXPECT_NE(::stat(path_.c_str(), &info), 0);
}

TEST_F(AdminTest, TheSocketIsForWhomItIsMeant)
{
    const std::string path = directory_ + "/for";
    const auto mode_of = [&path](const AdminAccess& access) {
        const auto listener = UnixListener::open(path, access);
        struct stat info {};
        EXPECT_TRUE(listener);
        EXPECT_EQ(::stat(path.c_str(), &info), 0);
        return std::pair(info.st_mode & 07777, info.st_gid);
    };
    const gid_t own = ::getegid();
    EXPECT_EQ(mode_of({.group = std::to_string(own), .mode = 0600}), std::pair(mode_t{0600}, own));
    const struct group* named = ::getgrgid(own);
    ASSERT_NE(named, nullptr);
    EXPECT_EQ(mode_of({.group = named->gr_name, .mode = 0666}), std::pair(mode_t{0666}, own));
    if (::geteuid() == 0) {
        EXPECT_EQ(mode_of({.group = "4242", .mode = 0660}), std::pair(mode_t{0660}, gid_t{4242}));
    }
    const auto nobody = UnixListener::open(path, {.group = "no-such-group"});
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().message, "admin.group: this machine has no group \"no-such-group\"");
    EXPECT_EQ(nobody.error().remedy, "make it with groupadd no-such-group, or name another one");
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(AdminTest, ASocketThatAnswersIsNotTakenOverAndAStaleOneIs)
{
    start(hello);
    const auto second = UnixListener::open(path_);
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("another featherlb answers"));
    EXPECT_TRUE(ask("GET", "/")) << "the first one is still there";
    stop();
    {
        const Fd dead(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    start(hello);
    EXPECT_TRUE(ask("GET", "/"));
}

TEST_F(AdminTest, WhatIsNoSocketIsLeftAlone)
{
    const std::string file = directory_ + "/file";
    std::ofstream(file) << "precious";
    const auto listener = UnixListener::open(file);
    ASSERT_FALSE(listener);
    EXPECT_THAT(listener.error().message, HasSubstr("something else than a socket"));
    EXPECT_TRUE(std::filesystem::exists(file));
}

TEST_F(AdminTest, ADirectoryThatCannotBeMadeAndAPathThatIsTooLongAreSaid)
{
    const auto nowhere = UnixListener::open("/proc/nowhere/admin.sock");
    ASSERT_FALSE(nowhere);
    EXPECT_THAT(nowhere.error().message, HasSubstr("cannot make the directory"));
    const auto long_path = UnixListener::open(std::string(200, 'x'));
    ASSERT_FALSE(long_path);
    EXPECT_THAT(long_path.error().message, HasSubstr("the path has 200 bytes"));
}

TEST_F(AdminTest, RequestsAreAnsweredAtOnceOrLater)
{
    start([this](const AdminRequest& request, const AdminServer::Respond& respond) {
        if (request.path == "/now")
            return hello(request, respond);
        std::thread([this, respond] { loop_->post([respond] { respond({200, "later", {}}); }); }).detach();
    });
    const auto now = ask("GET", "/now");
    ASSERT_TRUE(now);
    EXPECT_EQ(now->body, "GET /now");
    const auto later = ask("POST", "/later");
    ASSERT_TRUE(later);
    EXPECT_EQ(later->body, "later");
}

TEST_F(AdminTest, AServerThatEndsAnswersWhoStillWaits)
{
    start([](const AdminRequest&, const AdminServer::Respond&) {});
    const Fd client = connect();
    send(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    std::this_thread::sleep_for(100ms); // whether it was read by then does not matter
    stop();
    const std::string got = read_all(client);
    EXPECT_TRUE(got.empty() || got.starts_with("HTTP/1.1 503")) << got;
}

TEST_F(AdminTest, ARequestThatIsReadOnlyAtTheEndIsAnsweredToo)
{
    std::atomic<bool> in_loop = false, go_on = false;
    start([&](const AdminRequest& request, const AdminServer::Respond& respond) {
        if (request.path == "/")
            return hello(request, respond);
        in_loop = true;
        while (!go_on)
            std::this_thread::yield();
    });
    const Fd first = connect();
    const Fd second = connect();
    send(second, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    char byte = 0;
    ASSERT_EQ(::recv(second.get(), &byte, 1, MSG_PEEK), 1) << "it is accepted";
    send(first, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n");
    while (!in_loop)
        std::this_thread::yield();
    send(second, "GET /never HTTP/1.1\r\nHost: x\r\n\r\n"); // lies there when the server ends
    loop_->post([this] {
        server_.reset();
        loop_->stop();
    });
    go_on = true;
    thread_.join();
    EXPECT_THAT(read_all(first), testing::AnyOf("", HasSubstr("HTTP/1.1 503")));
    EXPECT_THAT(read_all(second), StartsWith("HTTP/1.1 200"));
}

TEST_F(AdminTest, AnAnswerToAClientThatLeftIsDropped)
{
    AdminServer::Respond kept;
    std::atomic<bool> asked = false;
    start([&](const AdminRequest& request, const AdminServer::Respond& respond) {
        if (request.path == "/")
            return hello(request, respond);
        kept = respond;
        asked = true;
    });
    {
        const Fd client = connect();
        send(client, "GET /kept HTTP/1.1\r\nHost: x\r\n\r\n");
        while (!asked)
            std::this_thread::yield();
    }
    loop_->post([&kept] {
        kept({200, std::string(1u << 20, 'x'), {}});
        kept({200, "again", {}});
    });
    EXPECT_TRUE(ask("GET", "/"));
}

TEST_F(AdminTest, LongBodiesAreRefused)
{
    start(hello);
    const Fd declared = connect();
    send(declared, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n");
    EXPECT_THAT(read_all(declared), testing::Not(StartsWith("HTTP/1.1 2")));
    const Fd large = connect();
    send(large, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(read_all(large), StartsWith("HTTP/1.1 413"));
    const Fd chunked = connect();
    send(chunked, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const std::string chunk = "4000\r\n" + std::string(0x4000, 'x') + "\r\n";
    for (int i = 0; i < 100; ++i)
        send(chunked, chunk);
    EXPECT_EQ(read_all(chunked), "");
    EXPECT_TRUE(ask("GET", "/"));
}

TEST_F(AdminTest, LongHeadersAndNoiseAreRefused)
{
    start(hello);
    const Fd headers = connect();
    send(headers, "GET / HTTP/1.1\r\nX: " + std::string(1u << 20, 'x'));
    EXPECT_THAT(read_all(headers), testing::Not(StartsWith("HTTP/1.1 2")));
    const Fd noise = connect();
    send(noise, std::string("\0\xff\x01 not http\r\n\r\n", 16));
    EXPECT_THAT(read_all(noise), testing::Not(StartsWith("HTTP/1.1 2")));
    EXPECT_TRUE(ask("GET", "/"));
}

TEST_F(AdminTest, IdleClientsAreSentAwayAndOthersServedMeanwhile)
{
    AdminLimits limits;
    limits.connections = 4;
    limits.idle = 1s;
    start(hello, limits);
    std::vector<Fd> idle;
    for (int i = 0; i < 3; ++i)
        idle.push_back(connect());
    EXPECT_TRUE(ask("GET", "/")) << "there is room for one more";
    for (const Fd& fd : idle)
        EXPECT_EQ(read_all(fd), "");
}

TEST_F(AdminTest, WhenIdleClientsHadTakenAllConnectionsTheNextAreServed)
{
    AdminLimits limits;
    limits.connections = 2;
    limits.idle = 1s;
    start(hello, limits);
    std::vector<Fd> idle;
    for (int i = 0; i < 5; ++i)
        idle.push_back(connect());
    EXPECT_TRUE(ask("GET", "/"));
}

TEST_F(AdminTest, AClientThatSendsSlowlyIsSentAwayWhenItsTimeIsUp)
{
    AdminLimits limits;
    limits.idle = 30s;
    limits.life = 1s;
    start(hello, limits);
    const Fd slow = connect();
    const auto began = std::chrono::steady_clock::now();
    send(slow, "GET / HTTP/1.1\r\n");
    std::thread drip([&slow] {
        for (int i = 0; i < 40; ++i) {
            send(slow, "X");
            std::this_thread::sleep_for(50ms);
        }
    });
    (void)read_all(slow);
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
    drip.join();
}

TEST_F(AdminTest, TheApiKnowsItsPathsAndMethods)
{
    start(make_api({.status =
                        [] {
                            Status status;
                            status.version = "1.2.3";
                            return status;
                        },
        .reload =
            [](const Controller::Done& done) {
                LoadReport report;
                report.result = LoadReport::Result::invalid;
                report.file = "f.yaml";
                report.problems = {{{3, 4}, "wrong", "right"}};
                done(report);
            }}));
    const auto status = ask("GET", "/v1/status");
    ASSERT_TRUE(status);
    EXPECT_EQ(nlohmann::json::parse(status->body).get<Status>().version, "1.2.3");
    const auto text = ask("GET", "/v1/status.txt");
    ASSERT_TRUE(text);
    EXPECT_THAT(text->body, HasSubstr("featherlb 1.2.3"));
    const auto reload = ask("POST", "/v1/reload");
    ASSERT_TRUE(reload);
    EXPECT_EQ(reload->code, 422);
    const auto json = nlohmann::json::parse(reload->body);
    EXPECT_EQ(json["result"], "invalid");
    EXPECT_EQ(json["problems"][0]["line"], 3);
    EXPECT_EQ(json["text"], "f.yaml:3:4: wrong; right");
    EXPECT_EQ(ask("GET", "/v1/reload")->code, 405);
    EXPECT_EQ(ask("POST", "/v1/status")->code, 405);
    EXPECT_EQ(ask("GET", "/v1/nothing")->code, 404);
}

TEST_F(AdminTest, TheQueryIsDecodedAndNoPartOfThePath)
{
    start([](const AdminRequest& request, const AdminServer::Respond& respond) {
        std::string text = request.path;
        for (const auto& [key, value] : request.query)
            text += fmt::format(" {}={}", key, value);
        respond({200, text, {}});
    });
    EXPECT_EQ(
        ask("GET", "/v1/x?client=10.0.0.0%2F8&a&b=%5B%3A%3A1%5D&b=2")->body, "/v1/x client=10.0.0.0/8 a= b=[::1] b=2");
    EXPECT_EQ(ask("GET", "/v1/x")->body, "/v1/x");
}

TEST_F(AdminTest, NobodyThereIsAnErrorThatNamesTheSocket)
{
    const auto reply = cli::ask_daemon(directory_ + "/none.sock", "GET", "/", 1s);
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().message, HasSubstr("/none.sock"));
    EXPECT_THAT(reply.error().remedy, HasSubstr("featherlb run"));
}

} // namespace
} // namespace featherlb
