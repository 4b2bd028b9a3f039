// SPDX-License-Identifier: Apache-2.0
#include "daemon/resolver.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace featherlb {

namespace {

constexpr std::size_t most_threads = 32;

// What the threads of one resolve() share with the loop's thread. Threads may outlive the resolver and the loop:
// they only touch this.
struct Batch {
    std::mutex mutex;
    std::vector<std::string> waiting;
    DnsAnswers answers;
    std::size_t expected = 0;
    std::function<void()> complete; // posts to the loop; empty when nobody waits any more
    Lookup lookup;
};

void work(const std::shared_ptr<Batch>& batch)
{
    std::unique_lock lock(batch->mutex);
    while (!batch->waiting.empty()) {
        const std::string host = std::move(batch->waiting.back());
        batch->waiting.pop_back();
        lock.unlock();
        DnsAnswer answer = batch->lookup(host);
        lock.lock();
        batch->answers.emplace(host, std::move(answer));
        // Under the lock, so that the resolver cannot go away in between.
        if (batch->answers.size() == batch->expected && batch->complete)
            batch->complete();
    }
}

class ThreadedResolver : public Resolver {
public:
    ThreadedResolver(Loop& loop, std::chrono::milliseconds deadline, Lookup lookup)
        : loop_(loop), deadline_(deadline), lookup_(std::move(lookup))
    {
    }
    ThreadedResolver(const ThreadedResolver&) = delete;
    ThreadedResolver& operator=(const ThreadedResolver&) = delete;
    ~ThreadedResolver() override
    {
        if (batch_)
            forget(*batch_);
        *alive_ = false;
    }

    void resolve(const std::set<std::string>& hosts, std::function<void(DnsAnswers)> done) override
    {
        if (batch_)
            forget(*batch_);
        hosts_ = hosts;
        done_ = std::move(done);
        batch_ = std::make_shared<Batch>();
        batch_->waiting.assign(hosts.begin(), hosts.end());
        if (!hosts.empty()) // names whose server is silent hold up others, so each time others come first
            std::rotate(batch_->waiting.begin(),
                batch_->waiting.begin() + static_cast<std::ptrdiff_t>(turn_ % hosts.size()), batch_->waiting.end());
        turn_ += most_threads;
        batch_->expected = hosts.size();
        batch_->lookup = lookup_;
        const std::uint64_t number = ++number_;
        const auto finish_this = [this, number, alive = alive_] {
            if (*alive && number == number_)
                finish();
        };
        if (hosts.empty())
            return loop_.post(finish_this);
        batch_->complete = [this, finish_this] { loop_.post(finish_this); };
        timer_ = loop_.after(deadline_, finish_this);
        const std::size_t threads = std::min(hosts.size(), most_threads);
        for (std::size_t i = 0; i < threads; ++i)
            std::thread([batch = batch_] { work(batch); }).detach();
    }

private:
    static void forget(Batch& batch)
    {
        const std::lock_guard lock(batch.mutex);
        batch.complete = nullptr;
        batch.waiting.clear();
    }

    void finish()
    {
        timer_.reset();
        ++number_; // the deadline and the last answer may both have been posted
        DnsAnswers answers;
        {
            const std::lock_guard lock(batch_->mutex);
            batch_->complete = nullptr;
            batch_->waiting.clear();
            answers = batch_->answers;
        }
        batch_.reset();
        const std::string late = fmt::format("no answer within {} ms", deadline_.count());
        for (const std::string& host : hosts_)
            answers.emplace(host, DnsAnswer{{}, late});
        std::exchange(done_, nullptr)(std::move(answers));
    }

    Loop& loop_;
    std::chrono::milliseconds deadline_;
    Lookup lookup_;
    std::set<std::string> hosts_;
    std::function<void(DnsAnswers)> done_;
    std::shared_ptr<Batch> batch_;
    std::uint64_t number_ = 0;
    std::size_t turn_ = 0; // the name that is asked first
    Handle timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true); // of the loop's thread
};

std::optional<IpAddress> usable(const addrinfo& entry)
{
    flb_addr bytes{};
    std::optional<IpAddress> address;
    if (entry.ai_family == AF_INET) {
        const auto* inet = reinterpret_cast<const sockaddr_in*>(entry.ai_addr);
        std::memcpy(bytes.bytes, &inet->sin_addr, 4);
        address = IpAddress::from_abi(bytes, Family::ipv4);
    } else if (entry.ai_family == AF_INET6) {
        const auto* inet = reinterpret_cast<const sockaddr_in6*>(entry.ai_addr);
        std::memcpy(bytes.bytes, &inet->sin6_addr, 16);
        address = IpAddress::from_abi(bytes, Family::ipv6);
    }
    if (address &&
        (address->is_loopback() || address->is_unspecified() || address->is_multicast() || address->is_link_local()))
        return std::nullopt;
    return address;
}

// Is there anything that the service can send to?
bool has_backend(const ServiceConfig& service, const std::map<std::string, std::vector<IpAddress>>& known)
{
    return std::any_of(service.backends.begin(), service.backends.end(), [&known](const BackendConfig& backend) {
        const auto* name = std::get_if<DnsName>(&backend.target);
        return name == nullptr || known.contains(name->host);
    });
}

} // namespace

DnsAnswer look_up(const std::string& host)
{
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    if (const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); code != 0)
        return {{}, code == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(code)};
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
    std::set<IpAddress> addresses;
    for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
        if (const auto address = usable(*entry))
            addresses.insert(*address);
    }
    if (addresses.empty())
        return {{}, "it has no address that a backend can have"};
    return {{addresses.begin(), addresses.end()}, {}};
}

std::unique_ptr<Resolver> make_resolver(Loop& loop, std::chrono::milliseconds deadline, Lookup lookup)
{
    return std::make_unique<ThreadedResolver>(loop, deadline, std::move(lookup));
}

std::set<std::string> dns_hosts(const Config& config)
{
    std::set<std::string> hosts;
    for (const ServiceConfig& service : config.services) {
        for (const BackendConfig& backend : service.backends) {
            if (const auto* name = std::get_if<DnsName>(&backend.target))
                hosts.insert(name->host);
        }
    }
    return hosts;
}

std::map<Endpoint, const BackendConfig*> endpoints_of(
    const ServiceConfig& service, const std::map<std::string, std::vector<IpAddress>>& dns)
{
    std::map<Endpoint, const BackendConfig*> all;
    for (const BackendConfig& backend : service.backends) {
        if (const auto* written = std::get_if<Endpoint>(&backend.target)) {
            all.emplace(*written, &backend);
            continue;
        }
        const auto& name = std::get<DnsName>(backend.target);
        const auto answer = dns.find(name.host);
        if (answer == dns.end())
            continue;
        for (const IpAddress& address : answer->second)
            all.emplace(Endpoint{address, name.port}, &backend);
    }
    return all;
}

DnsKnowledge merge_answers(
    const Config& config, const DnsAnswers& answers, const std::map<std::string, std::vector<IpAddress>>& last)
{
    DnsKnowledge knowledge;
    for (const auto& [host, answer] : answers) {
        const auto before = last.find(host);
        if (!answer.addresses.empty()) {
            knowledge.known.emplace(host, answer.addresses);
        } else if (before != last.end()) {
            knowledge.known.emplace(host, before->second);
            knowledge.warnings.push_back(
                fmt::format("{} does not resolve ({}); its last known addresses stay", host, answer.problem));
        } else {
            knowledge.warnings.push_back(
                fmt::format("{} does not resolve ({}); going on without it until it does", host, answer.problem));
        }
    }
    for (const ServiceConfig& service : config.services) {
        if (has_backend(service, knowledge.known))
            continue;
        for (const BackendConfig& backend : service.backends) {
            const auto& name = std::get<DnsName>(backend.target);
            knowledge.problems.push_back({backend.place,
                fmt::format("{} does not resolve ({}), and service {} has no other backend", name.host,
                    answers.at(name.host).problem, service.name),
                "correct the name, check the name server, or name a backend by its address"});
        }
    }
    return knowledge;
}

std::map<std::string, std::vector<IpAddress>> recall_addresses(const Config& config, const Tables& tables)
{
    std::map<std::string, std::vector<IpAddress>> recalled;
    for (const ServiceConfig& service : config.services) {
        std::set<Endpoint> written_out;
        for (const BackendConfig& backend : service.backends) {
            if (const auto* endpoint = std::get_if<Endpoint>(&backend.target))
                written_out.insert(*endpoint);
        }
        for (const BackendConfig& backend : service.backends) {
            const auto* name = std::get_if<DnsName>(&backend.target);
            if (name == nullptr)
                continue;
            std::set<IpAddress> addresses;
            for (const auto& [id, row] : tables.backends) {
                const auto owner = tables.services.find(row.service);
                if (owner != tables.services.end() && owner->second.name == service.name && !row.draining &&
                    row.endpoint.port == name->port && !written_out.contains(row.endpoint))
                    addresses.insert(row.endpoint.address);
            }
            if (!addresses.empty())
                recalled[name->host].assign(addresses.begin(), addresses.end());
        }
    }
    return recalled;
}

} // namespace featherlb
