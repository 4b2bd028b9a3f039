// SPDX-License-Identifier: Apache-2.0
#include "config/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace featherlb {

void PrintTo(const SettingChange& change, std::ostream* out)
{
    *out << change.path << ": '" << change.from << "' -> '" << change.to << "'";
}

namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<SettingChange> changes(const std::string& before, const std::string& after)
{
    return compare_settings(settings_of(before), settings_of(after));
}

std::string web_of(const std::string& backends, const std::string& more = "")
{
    return more + "services:\n  - name: web.one\n    listen: [\"10.0.0.1:80/tcp\"]\n    backends: [" + backends + "]\n";
}

TEST(Settings, OfTheSameMeaningAreTheSame)
{
    EXPECT_THAT(changes(web_of(R"({name: a, address: "10.0.0.2:80"}, {name: b, address: "10.0.0.3:80"})"),
                    "# new\nservices:\n- listen:\n  - 10.0.0.1:80/tcp\n  name: web.one\n  backends:\n"
                    "  - {address: \"10.0.0.3:80\", name: b}\n  - name: a\n    address: \"10.0.0.2:80\"\n"),
        IsEmpty());
}

TEST(Settings, AreNamedByTheirPath)
{
    EXPECT_THAT(changes(web_of(R"({name: a, address: "10.0.0.2:80"})", "flows: {max: 1024}\n"),
                    web_of(R"({name: a, address: "10.0.0.2:80", weight: 3})", "flows: {max: 2048}\n")),
        ElementsAre(
            SettingChange{"flows.max", "1024", "2048"}, SettingChange{"services.web.one.backends.a.weight", "", "3"}));
}

TEST(Settings, ABackendThatComesOrGoesIsOneChange)
{
    const std::string a = R"({name: a, address: "10.0.0.2:80"})", b = R"({address: "10.0.0.3:80", weight: 2})";
    EXPECT_THAT(changes(web_of(a), web_of(a + ", " + b)),
        ElementsAre(SettingChange{"services.web.one.backends.10.0.0.3:80", "", "address: 10.0.0.3:80, weight: 2"}));
    EXPECT_THAT(changes(web_of(a + ", " + b), web_of(a)),
        ElementsAre(SettingChange{"services.web.one.backends.10.0.0.3:80", "address: 10.0.0.3:80, weight: 2", ""}));
}

TEST(Settings, AServiceThatComesIsOneChange)
{
    const auto all = changes(web_of(R"({name: a, address: "10.0.0.2:80"})"),
        web_of(R"({name: a, address: "10.0.0.2:80"})") +
            "  - {name: dns, listen: [\"10.0.0.1:53/udp\"], backends: [{address: \"10.0.0.4:53\"}]}\n");
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].path, "services.dns");
    EXPECT_THAT(all[0].to, testing::HasSubstr("listen: [10.0.0.1:53/udp]"));
}

TEST(Settings, InterfacesByNameInBothForms)
{
    EXPECT_THAT(changes("interfaces: [eth0]\n", "interfaces: [eth0, {name: eth1, attach: tc}]\n").size(), 3u)
        << "a list of words becomes one of entries";
    EXPECT_THAT(changes("interfaces: [eth0]\n", "interfaces: [eth0, eth1]\n"),
        ElementsAre(SettingChange{"interfaces", "[eth0]", "[eth0, eth1]"}));
}

} // namespace
} // namespace featherlb
