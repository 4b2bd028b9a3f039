// SPDX-License-Identifier: Apache-2.0
// Files of backends: what they may say, and that they are followed.
#include <cstdio>
#include <fstream>

#include "config/backend_file.h"
#include "daemon/file_watch.h"
#include "unit/config_cases.h"

namespace featherlb {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

class BackendFileTest : public ::testing::Test {
public:
    ~BackendFileTest() override { std::remove(path_.c_str()); }

protected:
    // By rename, as they are replaced.
    void write(const std::string& text) const
    {
        std::ofstream(path_ + ".new") << text;
        std::rename((path_ + ".new").c_str(), path_.c_str());
    }
    [[nodiscard]] std::string service(const std::string& more = "") const
    {
        return config_test::service_with("\"*:80/tcp\"", "[{file: " + path_ + ", weight: 2}]", more);
    }
    // What is wrong with this text.
    [[nodiscard]] std::string problems(const std::string& text, const std::string& more = "") const
    {
        write(text);
        return config_test::problems_of(service(more));
    }
    std::string path_ =
        ::testing::TempDir() + "featherlb-" + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml";
};

TEST_F(BackendFileTest, EachTargetIsABackend)
{
    write(
        "[{\"targets\": [\"10.0.1.11:8080\", \"[fd00::11]:8080\"], \"labels\": {\"weight\": \"3\", \"env\": \"x\"}},\n"
        " {targets: [\"10.0.1.12\"], labels: {backup: \"true\"}}]\n");
    const ServiceConfig web = config_test::sound(service()).services.at(0);
    ASSERT_EQ(web.backends.size(), 3u);
    EXPECT_EQ(std::get<Endpoint>(web.backends[1].target).to_string(), "[fd00::11]:8080");
    EXPECT_EQ(web.backends[1].weight, 3u);
    EXPECT_EQ(web.backends[2].weight, 2u) << "that of the entry";
    EXPECT_TRUE(web.backends[2].backup && web.backends[2].from_file);
    EXPECT_EQ(web.files.at(0).path, path_);
    EXPECT_EQ(web.files.at(0).fingerprint, fingerprint_of(path_));
}

TEST_F(BackendFileTest, WhatIsWrongHasItsPlaceInBothFiles)
{
    const std::string place = "f:4:23: " + path_;
    EXPECT_EQ(problems("[{targets: [\"10.0.1.999:80\"]}]").rfind(place + ":1:13: \"10.0.1.999\" is not", 0), 0u);
    EXPECT_THAT(problems("\n- targets: [\"web.internal:80\"]\n"), HasSubstr(":2:13: \"web.internal\" is a name"));
    EXPECT_THAT(problems("[{target: []}]"), HasSubstr("did you mean \"targets\"?"));
    EXPECT_THAT(problems("[{targets: x}]"), HasSubstr("targets must be a list"));
    EXPECT_THAT(problems("[{targets: [\"10.0.0.1:80\", \"10.0.0.1:80\"]}]"), HasSubstr("is there twice"));
    EXPECT_THAT(problems("[{targets: [\"10.0.0.1:80\"], labels: {weight: many}}]"), HasSubstr("weight"));
    EXPECT_THAT(problems("[{targets: [\"10.0.0.1:80\""), HasSubstr(path_ + ":"));
    EXPECT_THAT(problems("services: []"), HasSubstr("the file must consist of a list"));
    EXPECT_THAT(problems(""), HasSubstr("the file must consist of a list"));
    EXPECT_THAT(problems("[]"), HasSubstr("its files name no target"));
    EXPECT_THAT(problems("[{targets: [\"10.0.0.1:80\"], labels: {weight: \"3\"}}]", "    algorithm: round-robin\n"),
        HasSubstr("round-robin does not use weights"));
}

TEST_F(BackendFileTest, AnEmptyListIsRightBesideOtherBackends)
{
    write("[]");
    const std::string text =
        config_test::service_with("\"*:80/tcp\"", "[{file: " + path_ + "}, {address: \"10.0.0.1:80\"}]");
    EXPECT_EQ(config_test::sound(text).services.at(0).backends.size(), 1u);
}

TEST_F(BackendFileTest, AChangeIsToldOnce)
{
    const std::unique_ptr<Loop> loop = make_loop();
    write("[]");
    int changes = 0;
    FileWatch watch(*loop, [&] { ++changes; });
    watch.follow({{path_, fingerprint_of(path_)}});
    const Handle first = loop->after(200ms, [&] {
        EXPECT_EQ(changes, 0);
        write("[{targets: []}]");
    });
    const Handle second = loop->after(600ms, [&] {
        EXPECT_EQ(changes, 1);
        write("[{targets: []}]"); // the same
    });
    const Handle third = loop->after(1s, [&] {
        EXPECT_EQ(changes, 1);
        std::remove(path_.c_str());
    });
    const Handle last = loop->after(1400ms, [&] { loop->stop(); });
    loop->run();
    EXPECT_EQ(changes, 2) << "it is gone";
}

TEST_F(BackendFileTest, AChangeBetweenReadingAndWatchingIsTold)
{
    const std::unique_ptr<Loop> loop = make_loop();
    write("[]");
    const std::size_t as_read = fingerprint_of(path_);
    write("[{targets: []}]");
    int changes = 0;
    FileWatch watch(*loop, [&] {
        ++changes;
        loop->stop();
    });
    watch.follow({{path_, as_read}});
    const Handle enough = loop->after(5s, [&] { loop->stop(); });
    loop->run();
    EXPECT_EQ(changes, 1);
}

} // namespace
} // namespace featherlb
