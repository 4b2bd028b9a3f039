# SPDX-License-Identifier: Apache-2.0
"""The combinations that cannot work on virtual Ethernet, each with its reason. One list: the tests leave these out
and want the daemon to warn about them, docs/lab.md explains them.

Real network cards deliver full checksums, so none of this concerns them; that is why `attach: auto` takes native XDP
only there.
"""

_PARTIAL = ("a sender with checksum offload leaves the checksum to hardware that a veth does not have, and native XDP "
            "forgets that it is unfinished: the receiver counts it as TcpInCsumErrors")
_SEGMENTS = ("generic XDP sees the sender's unsegmented 64 KB packets (TSO), and bulk TCP stalls on them")


def reason(hook: str, offload: str) -> str | None:
    """Why no request can succeed with this hook and offload setting; None where it can."""
    if hook == "xdp" and offload != "off-at-end-hosts":
        return _PARTIAL
    return None


def bulk_reason(hook: str, offload: str) -> str | None:
    """Why single requests succeed but bulk transfer needs TSO off at the end hosts; None where it does not."""
    if hook == "xdp-generic" and offload != "off-at-end-hosts":
        return _SEGMENTS
    return None
