// SPDX-License-Identifier: Apache-2.0
#include "daemon/tls_stream.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "daemon/sockets.h"

namespace featherlb {

namespace {

using Ssl = std::unique_ptr<SSL, decltype(&::SSL_free)>;

std::string last_error()
{
    const char* reason = ::ERR_reason_error_string(::ERR_peek_error());
    ::ERR_clear_error();
    return reason == nullptr ? "unknown error" : reason;
}

class TlsStream : public Stream {
public:
    TlsStream(std::shared_ptr<SSL_CTX> context, Ssl ssl) : context_(std::move(context)), ssl_(std::move(ssl)) {}

    Moved send(int socket, std::string_view bytes) override
    {
        use(socket);
        std::size_t sent = 0;
        const int result = ::SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &sent);
        Moved moved = judge(result, sent);
        if (std::exchange(moved.ended, false))
            moved.failure = {CheckResult::Kind::failed,
                shaking() ? "closed during the TLS handshake" : "closed before the request was sent"};
        return moved;
    }
    Moved receive(int socket, std::span<char> room) override
    {
        use(socket);
        std::size_t got = 0;
        const int result = ::SSL_read_ex(ssl_.get(), room.data(), room.size(), &got);
        return judge(result, got);
    }
    [[nodiscard]] std::string_view waits_for() const override { return shaking() ? "the TLS handshake" : ""; }

private:
    [[nodiscard]] bool shaking() const { return ::SSL_is_init_finished(ssl_.get()) == 0; }

    void use(int socket)
    {
        ::ERR_clear_error();
        errno = 0;
        if (::SSL_get_fd(ssl_.get()) != socket)
            ::SSL_set_fd(ssl_.get(), socket);
    }

    // Of what OpenSSL has just done.
    Moved judge(int result, std::size_t bytes)
    {
        if (result > 0)
            return {.bytes = bytes};
        const int error = errno;
        switch (::SSL_get_error(ssl_.get(), result)) {
        case SSL_ERROR_WANT_READ:
            return {.wants = Wants::reading};
        case SSL_ERROR_WANT_WRITE:
            return {.wants = Wants::writing};
        case SSL_ERROR_ZERO_RETURN:
            return {.ended = true};
        case SSL_ERROR_SYSCALL:
            return error == 0 ? Moved{.ended = true} : Moved{.failure = result_of(error)};
        default:
            return {.failure = CheckResult{CheckResult::Kind::failed, why()}};
        }
    }

    std::string why()
    {
        const long verified = ::SSL_get_verify_result(ssl_.get());
        if (verified != X509_V_OK && (::SSL_get_verify_mode(ssl_.get()) & SSL_VERIFY_PEER) != 0) {
            ::ERR_clear_error();
            return fmt::format("certificate: {}", ::X509_verify_cert_error_string(verified));
        }
        return fmt::format("TLS: {}", last_error());
    }

    std::shared_ptr<SSL_CTX> context_;
    Ssl ssl_;
};

bool add_trusted(SSL_CTX* context, const std::string& pem)
{
    const std::unique_ptr<BIO, decltype(&::BIO_free)> text(
        ::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &::BIO_free);
    X509_STORE* store = ::SSL_CTX_get_cert_store(context);
    bool all = true;
    while (X509* certificate = ::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)) {
        all = ::X509_STORE_add_cert(store, certificate) == 1 && all;
        ::X509_free(certificate);
    }
    ::ERR_clear_error(); // the end of the text is one
    return all;
}

bool trust(SSL_CTX* context, const HealthConfig& how)
{
    if (!how.verify) {
        ::SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nullptr);
        return true;
    }
    ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    return how.ca.text ? add_trusted(context, *how.ca.text) : ::SSL_CTX_set_default_verify_paths(context) == 1;
}

// Who the other side must be, and who it is told that it is.
bool name_peer(SSL* ssl, const std::string& name, bool verify)
{
    const bool is_address = IpAddress::parse(name).has_value();
    if (!is_address && SSL_set_tlsext_host_name(ssl, name.c_str()) != 1)
        return false;
    if (!verify)
        return true;
    X509_VERIFY_PARAM* wanted = ::SSL_get0_param(ssl);
    ::X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return is_address ? ::X509_VERIFY_PARAM_set1_ip_asc(wanted, name.c_str()) == 1
                      : ::SSL_set1_host(ssl, name.c_str()) == 1;
}

} // namespace

std::string host_without_port(const std::string& host)
{
    if (host.starts_with('['))
        return host.substr(1, host.find(']') - 1);
    const std::size_t colon = host.find(':');
    // Several: an IPv6 address without a port.
    return colon == host.rfind(':') ? host.substr(0, colon) : host;
}

Result<std::shared_ptr<SSL_CTX>> TlsContexts::context_for(const HealthConfig& how)
{
    const auto same = std::ranges::find_if(
        known_, [&how](const Known& known) { return known.verify == how.verify && known.ca == how.ca; });
    if (same != known_.end())
        return same->context;
    std::erase_if(known_, [](const Known& known) { return known.context.use_count() == 1; });
    ::ERR_clear_error();
    std::shared_ptr<SSL_CTX> context(::SSL_CTX_new(::TLS_client_method()), &::SSL_CTX_free);
    if (!context || !trust(context.get(), how))
        return fail(fmt::format("TLS: {}", last_error()));
    // Many servers just close.
    ::SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
    ::SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    known_.push_back({how.verify, how.ca, context});
    return context;
}

Result<std::unique_ptr<Stream>> TlsContexts::open(const Endpoint& target, const HealthConfig& how)
{
    Result<std::shared_ptr<SSL_CTX>> context = context_for(how);
    if (!context)
        return fail(context.error());
    Ssl ssl(::SSL_new(context->get()), &::SSL_free);
    const std::string name = how.host.empty() ? target.address.to_string() : host_without_port(how.host);
    static constexpr unsigned char http[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    if (!ssl || !name_peer(ssl.get(), name, how.verify) || ::SSL_set_alpn_protos(ssl.get(), http, sizeof(http)) != 0)
        return fail(fmt::format("TLS: {}", last_error()));
    ::SSL_set_connect_state(ssl.get());
    return std::make_unique<TlsStream>(*std::move(context), std::move(ssl));
}

} // namespace featherlb
