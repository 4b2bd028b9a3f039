// SPDX-License-Identifier: Apache-2.0
// TLS for checks, by OpenSSL. The handshake goes on inside the first send(). A certificate is judged as a client would:
// signed by one that is trusted, good today, and made out for the name that is asked for.
//
// Thread rule: the loop's thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "config/config.h"
#include "daemon/stream.h"

typedef struct ssl_ctx_st SSL_CTX; // OpenSSL's, which the callers have no need of

namespace featherlb {

// What streams share: the certificates that they trust, which take milliseconds to read.
class TlsContexts {
public:
    // What the check `how` of `target` goes through. Certificates are checked for the name in `how.host`, or else the
    // address of `target`.
    [[nodiscard]] Result<std::unique_ptr<Stream>> open(const Endpoint& target, const HealthConfig& how);

private:
    struct Known {
        bool verify;
        SharedText ca;
        std::shared_ptr<SSL_CTX> context;
    };
    [[nodiscard]] Result<std::shared_ptr<SSL_CTX>> context_for(const HealthConfig& how);

    std::vector<Known> known_; // a handful: one for each `ca`
};

// "web.internal:8443" -> "web.internal", "[fd00::11]:443" -> "fd00::11".
[[nodiscard]] std::string host_without_port(const std::string& host);

} // namespace featherlb
