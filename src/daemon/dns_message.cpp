// SPDX-License-Identifier: Apache-2.0
#include "daemon/dns_message.h"

#include <array>
#include <utility>

#include <arpa/nameser.h>
#include <fmt/format.h>
#include <resolv.h>
#include <strings.h>

namespace featherlb {

namespace {

ns_type type_of(DnsRecord record)
{
    return record == DnsRecord::a ? ns_t_a : ns_t_aaaa;
}

std::string_view word_of(DnsRecord record)
{
    return record == DnsRecord::a ? "A" : "AAAA";
}

std::string rcode_name(int rcode)
{
    static constexpr std::array<std::string_view, 6> names{
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
    return rcode >= 0 && rcode < static_cast<int>(names.size()) ? std::string(names[static_cast<std::size_t>(rcode)])
                                                                : fmt::format("rcode {}", rcode);
}

std::string without_dot(std::string name)
{
    if (name.ends_with('.'))
        name.pop_back();
    return name;
}

bool asks_the_same(ns_msg& message, const HealthConfig& how)
{
    ns_rr question;
    return ns_msg_count(message, ns_s_qd) == 1 && ::ns_parserr(&message, ns_s_qd, 0, &question) == 0 &&
           ns_rr_type(question) == type_of(how.record) && ns_rr_class(question) == ns_c_in &&
           ::strcasecmp(ns_rr_name(question), without_dot(how.name).c_str()) == 0;
}

// Of the kind that was asked for, maybe behind other names. Nothing: the message is broken.
std::optional<bool> has_record(ns_msg& message, const HealthConfig& how)
{
    const std::size_t length = how.record == DnsRecord::a ? 4 : 16;
    bool found = false;
    for (int i = 0; i < ns_msg_count(message, ns_s_an); ++i) {
        ns_rr record;
        if (::ns_parserr(&message, ns_s_an, i, &record) != 0)
            return std::nullopt;
        found = found || (ns_rr_type(record) == type_of(how.record) && ns_rr_class(record) == ns_c_in &&
                             ns_rr_rdlen(record) == length);
    }
    return found;
}

CheckResult judge_answer(ns_msg& message, const HealthConfig& how)
{
    const int rcode = ns_msg_getflag(message, ns_f_rcode);
    switch (how.expect_dns) {
    case DnsExpect::any:
        return {};
    case DnsExpect::nxdomain:
        return rcode == ns_r_nxdomain ? CheckResult{}
                                      : failed_check(fmt::format("DNS {}, expected NXDOMAIN", rcode_name(rcode)));
    case DnsExpect::answer:
        break;
    }
    if (rcode != ns_r_noerror)
        return failed_check(fmt::format("DNS {}, expected NOERROR", rcode_name(rcode)));
    const auto found = has_record(message, how);
    if (!found)
        return failed_check("the answer is not DNS");
    // One that was cut off has more than fits into a datagram.
    return *found || ns_msg_getflag(message, ns_f_tc) != 0
               ? CheckResult{}
               : failed_check(fmt::format("the answer has no {} record of {}", word_of(how.record), how.name));
}

} // namespace

std::string dns_query(const HealthConfig& how, std::uint16_t number)
{
    std::array<unsigned char, NS_PACKETSZ> bytes{};
    unsigned char* at = bytes.data();
    constexpr std::uint16_t recursion_desired = 0x0100;
    for (const std::uint16_t word :
        {number, recursion_desired, std::uint16_t{1}, std::uint16_t{0}, std::uint16_t{0}, std::uint16_t{0}}) {
        ::ns_put16(word, at);
        at += NS_INT16SZ;
    }
    const int length =
        ::ns_name_compress(how.name.c_str(), at, NS_PACKETSZ - NS_HFIXEDSZ - NS_QFIXEDSZ, nullptr, nullptr);
    if (length < 0)
        return {};
    at += length;
    ::ns_put16(type_of(how.record), at);
    ::ns_put16(ns_c_in, at + NS_INT16SZ);
    at += NS_QFIXEDSZ;
    return {reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(at - bytes.data())};
}

CheckResult judge_dns(std::string_view received, const HealthConfig& how, std::uint16_t number)
{
    ns_msg message;
    if (received.size() > NS_MAXMSG ||
        ::ns_initparse(reinterpret_cast<const unsigned char*>(received.data()), static_cast<int>(received.size()),
            &message) != 0 ||
        ns_msg_getflag(message, ns_f_qr) == 0 || ns_msg_getflag(message, ns_f_opcode) != ns_o_query)
        return failed_check("the answer is not DNS");
    if (ns_msg_id(message) != number || !asks_the_same(message, how))
        return failed_check("the answer is to another question");
    return judge_answer(message, how);
}

} // namespace featherlb
