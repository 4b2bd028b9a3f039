# SPDX-License-Identifier: Apache-2.0
"""For test_network.py and test_neighbours.py: src/kernel/network.h on real interfaces, driven by network_probe.cpp.

The balancer `lb` has two cables, lb0 to `east` (10.1.0.0/24, fd01::/64) and lb1 to `west` (10.2.0.0/24, fd02::/64).
Its own address ends in 1, the other end's in 2. No test polls the answer: each waits for the event that changes it.
"""
import json
import os
import subprocess
import time

import pytest
from labkit import tools
from labkit.lab import Lab, wait_for
from labkit.netns import run

PROBE = os.environ.get("NETWORK_PROBE", str(tools.ROOT / "build/release/network_probe"))
ZERO = "00:00:00:00:00:00"
QUIET = {"links": False, "addresses": False, "routes": False, "neighbours": False}


class Probe:
    def __init__(self, lab, ns, prefix=()):
        self.process = lab.start(ns, [*prefix, PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "network_probe ended"
        return json.loads(line)

    def interface(self, name):
        return next((i for i in self("interfaces") if i["name"] == name), None)

    def hop_when(self, destination, condition, timeout=15.0):
        """Asks once, then only when told of a change, as the daemon does."""
        end = time.monotonic() + timeout
        while True:
            hop = self("hop", destination)
            if condition(hop):
                return hop
            while self("wait", max(0, int((end - time.monotonic()) * 1000))) == QUIET:
                assert time.monotonic() < end, f"still {hop} after {timeout:g} s"

    def resolved(self, destination, timeout=15.0):
        return self.hop_when(destination, lambda hop: hop["mac"] != ZERO, timeout)

    def settle(self):
        """Reads the events that are under way."""
        while self("wait", 300) != QUIET:
            pass


class Net:
    def __init__(self, lab):
        self.lab = lab
        self.lb, self.east, self.west = (lab.namespace(name) for name in ("lb", "east", "west"))
        for number, (side, other) in enumerate([("lb0", self.east), ("lb1", self.west)], start=1):
            lab.veth(self.lb, side, other, "eth0")
            self.lb.ip(f"""addr add 10.{number}.0.1/24 dev {side}
                           addr add fd0{number}::1/64 dev {side} nodad""")
            other.ip(f"""addr add 10.{number}.0.2/24 dev eth0
                         addr add fd0{number}::2/64 dev eth0 nodad""")
        for other in (self.east, self.west):  # a changed MAC is announced
            other.sysctl("net.ipv4.conf.eth0.arp_notify", 1)
            other.sysctl("net.ipv6.conf.eth0.ndisc_notify", 1)
        self.probe = Probe(lab, self.lb)

    def mac(self, ns, device="eth0"):
        return json.loads(run(["ip", "-n", ns.name, "-j", "link", "show", device]).stdout)[0]["address"]

    def index(self, device):
        return json.loads(run(["ip", "-n", self.lb.name, "-j", "link", "show", device]).stdout)[0]["ifindex"]

    def neighbour(self, address):
        """As `ip neigh` words, e.g. "10.1.0.2 dev lb0 lladdr ... managed proto 251 REACHABLE"."""
        shown = run(["ip", "-n", self.lb.name, "neigh", "show", address]).stdout
        return shown.split()

    def fails(self, address):
        """Waits until the kernel gave up, after three seconds; it tries again by itself every five."""
        wait_for(f"{address} fails", lambda: "FAILED" in self.neighbour(address))


@pytest.fixture
def net():
    with Lab() as lab:
        yield Net(lab)


def reason(hop):
    assert hop["mac"] == ZERO and hop["problem"], hop
    return hop["problem"]["message"]
