/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hook that this program is compiled for. Both headers offer the same functions: hook_input, hook_pull,
 * hook_is_for_us, hook_segment, hook_rewrite, hook_send, hook_cut, hook_finish_reset.
 */
#ifndef FEATHERLB_HOOK_H
#define FEATHERLB_HOOK_H

#ifdef FEATHERLB_XDP
#include "hook_xdp.h"
#else
#include "hook_tc.h"
#endif

#endif
