// SPDX-License-Identifier: Apache-2.0
// A certificate of our own making, and a server that speaks TLS with it.
#pragma once

#include <memory>
#include <string>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "unit/one_server.h"

namespace featherlb {

// Signed by itself, so it is also its own `ca`. `names`: as in "DNS:web.internal,IP:127.0.0.1".
class Certificate {
public:
    explicit Certificate(const std::string& names, long good_for_seconds = 3600)
        : key_(::EVP_EC_gen("P-256"), &::EVP_PKEY_free), certificate_(::X509_new(), &::X509_free)
    {
        X509* x = certificate_.get();
        ::X509_set_version(x, 2);
        ::ASN1_INTEGER_set(::X509_get_serialNumber(x), 1);
        ::X509_gmtime_adj(::X509_getm_notBefore(x), -7200);
        ::X509_gmtime_adj(::X509_getm_notAfter(x), good_for_seconds);
        ::X509_set_pubkey(x, key_.get());
        X509_NAME* name = ::X509_get_subject_name(x);
        ::X509_NAME_add_entry_by_txt(
            name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("featherlb test"), -1, -1, 0);
        ::X509_set_issuer_name(x, name);
        X509_EXTENSION* extension = ::X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, names.c_str());
        EXPECT_EQ(::X509_add_ext(x, extension, -1), 1);
        ::X509_EXTENSION_free(extension);
        EXPECT_GT(::X509_sign(x, key_.get(), ::EVP_sha256()), 0);
    }
    [[nodiscard]] SharedText pem() const
    {
        const std::unique_ptr<BIO, decltype(&::BIO_free)> out(::BIO_new(::BIO_s_mem()), &::BIO_free);
        ::PEM_write_bio_X509(out.get(), certificate_.get());
        char* data = nullptr;
        const long size = BIO_get_mem_data(out.get(), &data);
        return {std::make_shared<const std::string>(data, static_cast<std::size_t>(size))};
    }
    // Answers one connection when it has read a request; what it read. `name`: the server's name that was asked for.
    std::string serve(int connection, const std::string& answer, std::string* name = nullptr) const
    {
        const std::unique_ptr<SSL_CTX, decltype(&::SSL_CTX_free)> context(
            ::SSL_CTX_new(::TLS_server_method()), &::SSL_CTX_free);
        ::SSL_CTX_use_certificate(context.get(), certificate_.get());
        ::SSL_CTX_use_PrivateKey(context.get(), key_.get());
        const std::unique_ptr<SSL, decltype(&::SSL_free)> ssl(::SSL_new(context.get()), &::SSL_free);
        ::SSL_set_fd(ssl.get(), connection);
        if (::SSL_accept(ssl.get()) != 1)
            return "";
        if (const char* asked = ::SSL_get_servername(ssl.get(), TLSEXT_NAMETYPE_host_name); asked != nullptr && name)
            *name = asked;
        std::string heard;
        char buffer[4096];
        while (heard.find("\r\n\r\n") == std::string::npos) {
            const int got = ::SSL_read(ssl.get(), buffer, sizeof(buffer));
            if (got <= 0)
                return heard;
            heard.append(buffer, static_cast<std::size_t>(got));
        }
        ::SSL_write(ssl.get(), answer.data(), static_cast<int>(answer.size()));
        ::SSL_shutdown(ssl.get());
        return heard;
    }

private:
    std::unique_ptr<EVP_PKEY, decltype(&::EVP_PKEY_free)> key_;
    std::unique_ptr<X509, decltype(&::X509_free)> certificate_;
};

} // namespace featherlb
