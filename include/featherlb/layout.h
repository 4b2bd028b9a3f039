/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a data plane says of its own records, for versions to come. By the rules of abi.h.
 */
#ifndef FEATHERLB_LAYOUT_H
#define FEATHERLB_LAYOUT_H

#include "featherlb/abi.h"

/* Map `layout`: where each field of each record lies in the maps that are pinned with it, for a daemon whose layout is
 * another one (src/kernel/layout.h). So a field whose meaning changes gets another name. The programs do not read it.
 */
#define FLB_MAX_FIELDS 256
struct flb_field {
    char name[48]; /* "flb_backend.port"; the record itself: "flb_backend"; empty: no more */
    __u32 offset;
    __u32 size;
    __u8 pad[8];
};

FLB_ASSERT(sizeof(struct flb_field) == 64);

#endif
