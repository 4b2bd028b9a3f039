// SPDX-License-Identifier: Apache-2.0
// GET /v1/flows and POST /v1/flows/kill of the admin socket.
#pragma once

#include "daemon/api.h"

namespace featherlb {

void answer_flows(const ApiTarget& target, const AdminRequest& request, const AdminServer::Respond& respond);
void answer_kill(const ApiTarget& target, const AdminRequest& request, const AdminServer::Respond& respond);

} // namespace featherlb
