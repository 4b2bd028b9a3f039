// SPDX-License-Identifier: Apache-2.0
#include "base/certificates.h"

#include <memory>

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

namespace featherlb {

Result<std::size_t> count_certificates(std::string_view pem)
{
    const std::unique_ptr<BIO, decltype(&::BIO_free)> text(
        ::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &::BIO_free);
    std::size_t count = 0;
    ::ERR_clear_error();
    while (X509* certificate = ::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)) {
        ::X509_free(certificate);
        ++count;
    }
    const bool at_end = ERR_GET_REASON(::ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    ::ERR_clear_error();
    if (!at_end)
        return fail(fmt::format("the certificate number {} in it is broken", count + 1));
    if (count == 0)
        return fail("there is no certificate in it");
    return count;
}

} // namespace featherlb
