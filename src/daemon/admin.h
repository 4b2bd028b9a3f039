// SPDX-License-Identifier: Apache-2.0
// The admin socket: HTTP on a Unix socket. What it offers is in api.h.
#pragma once

#include "daemon/http_server.h"

namespace featherlb {

using AdminRequest = HttpRequest;
using AdminResponse = HttpResponse;
using AdminLimits = HttpLimits;
using AdminServer = HttpServer;

} // namespace featherlb
