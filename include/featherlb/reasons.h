/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the packet programs count: why a packet was not forwarded, and what else happened. Part of abi.h, which
 * includes it.
 */
#ifndef FEATHERLB_REASONS_H
#define FEATHERLB_REASONS_H

/* ---- why a packet was not forwarded ------------------------------------------------------------------- */
/* X(name, text): the enum, the text that people see and the metric label `name` come from this one list.
 * Append only: numbers are stored in pinned maps. */
#define FLB_DROP_REASONS(X)                                                                                            \
    X(truncated, "the packet ends before its headers do")                                                              \
    X(bad_length, "a length field disagrees with the packet")                                                          \
    X(bad_tcp_header, "the TCP header length is impossible")                                                           \
    X(bad_tcp_flags, "TCP flags that open no connection and belong to none (SYN with FIN or RST, none)")               \
    X(extension_headers, "more IPv6 extension headers than are followed")                                              \
    X(fragment, "a fragment whose first one was not seen before it, or was not forwarded")                             \
    X(ttl_exceeded, "TTL or hop limit used up")                                                                        \
    X(no_flow, "TCP segment of a connection that is not known; answered with RST where it may be")                     \
    X(no_backend, "the service has no backend that takes connections")                                                 \
    X(backend_unresolved, "the link address of the backend's next hop is not known yet")                               \
    X(no_return_path, "no route or link address for the way back to the client")                                       \
    X(table_full, "no room in the flow table that a new connection may take")                                          \
    X(table_contended, "another processor held the set of the flow table for too long")                                \
    X(ports_exhausted, "no free source port towards the backend")                                                      \
    X(tuple_in_use, "the backend already has a connection with this client address and port")                          \
    X(too_big, "larger than the way out carries")                                                                      \
    X(not_configured, "a table names a service, backend or interface that is not there")                               \
    X(rewrite_failed, "the kernel refused to change the packet")                                                       \
    X(superseded, "answer of a backend that the client's SYN has left for another one")                                \
    X(backend_down, "packet of a connection whose backend is down; answered with RST")                                 \
    X(refused, "all backends of the service are down; answered with RST")                                              \
    X(denied, "the source is not on the service's `allow` list, or on its `deny` list")                                \
    X(source_rate, "the source opens more connections a second than it may")                                           \
    X(source_connections, "the source has as many open connections as it may")                                         \
    X(icmp_broken, "an ICMP error for a connection of ours that quotes less of the packet than it must")               \
    X(killed, "packet of a connection that an operator has ended; answered with RST")                                  \
    X(copying, "packet of a connection that may not have been copied to the new flow table yet; it will be repeated")

#define FLB_ENUM_REASON(name, text) FLB_DROP_##name,
enum flb_drop_reason { FLB_DROP_none = 0, FLB_DROP_REASONS(FLB_ENUM_REASON) FLB_DROP_REASON_COUNT };
#undef FLB_ENUM_REASON

/* ---- what else is counted ------------------------------------------------------------------------------ */
/* X(name, text), as above: nothing was dropped, but something was not done for want of room. Append only. */
#define FLB_EVENTS(X)                                                                                                  \
    X(evicted, "connections that were not proven yet and had to give way to others, for want of room")                 \
    X(source_uncounted, "open connections that their source's limit does not know, for want of room")                  \
    X(pin_refused, "connections whose client was not pinned to its backend, for want of room")

#define FLB_ENUM_EVENT(name, text) FLB_EVENT_##name,
enum flb_event { FLB_EVENTS(FLB_ENUM_EVENT) FLB_EVENT_COUNT };
#undef FLB_ENUM_EVENT

#endif
