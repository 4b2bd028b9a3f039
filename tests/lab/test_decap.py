# SPDX-License-Identifier: Apache-2.0
"""`featherlb decap` on a backend without a tunnel device. The client puts its packets into the tunnel itself
(programs/encap.bpf.c), so that what is seen here is the backend's side alone."""
import hashlib
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from labkit import clients, tools
from labkit.backends import HTTP_PORT, Nginx
from labkit.lab import Lab, wait_for
from labkit.topology import Host

PROGRAMS = Path(__file__).parent / "programs"
SERVICE = {4: "10.9.0.1", 6: "fd00:9::1"}
OTHER = {4: "10.9.0.2", 6: "fd00:9::2"}
BULK = 20_000_000
# (inner, outer)
TUNNELS = ((4, 4), (6, 6), (4, 6), (6, 4))
IDS = [f"{inner}-in-{outer}" for inner, outer in TUNNELS]
# TC takes IPv4 out of IPv6 and the other way round from Linux 6.3 on.
KERNEL = tuple(int(number) for number in os.uname().release.split(".")[:2])
TC_CROSSES = KERNEL >= (6, 3)


class Pair:
    """One client, one backend, one cable; the tunnel's client end is a program."""

    def __init__(self, lab: Lab):
        self.lab = lab
        client, backend = lab.namespace("c"), lab.namespace("b")
        self.client = Host(client, "c", "10.2.0.2", "fd00:2::2")
        self.backend = Host(backend, "b1", "10.2.0.11", "fd00:2::11")
        backend.ip("".join(f"addr add {address}/{bits} dev lo {nodad}\n" for addresses in (SERVICE, OTHER)
                           for address, bits, nodad in ((addresses[4], 32, ""), (addresses[6], 128, "nodad"))))
        self.cable()
        self.nginx = Nginx(self, self.backend)
        self.bulk = self.nginx.directory / "files/bulk"
        self.bulk.write_bytes(os.urandom(BULK))

    def cable(self) -> None:
        client, backend = self.client.ns, self.backend.ns
        self.lab.veth(client, "eth0", backend, "eth0")
        for host in (self.client, self.backend):
            host.ns.ip(f"addr add {host.ipv4}/24 dev eth0\naddr add {host.ipv6}/64 dev eth0 nodad")
        client.ip("route add 10.9.0.0/24 via 10.2.0.11\nroute add fd00:9::/64 via fd00:2::11")
        client.run(["tc", "qdisc", "add", "dev", "eth0", "clsact"])

    def tunnel(self, outer: int) -> None:
        pin = tools.load_bpf(PROGRAMS / "encap.bpf.c", self.lab, "classifier", f"encap{outer}", OUTER=outer)
        self.client.ns.run(["tc", "filter", "replace", "dev", "eth0", "egress", "pref", "1", "handle", "1", "bpf", "da",
                            "pinned", str(pin)])


class Decap:
    """A with block."""

    def __init__(self, pair: Pair, *options: str, environment: dict | None = None):
        self.pair, self.options = pair, options
        self.environment = {**os.environ, **(environment or {})}
        self.out = pair.lab.directory / "decap.log"

    def __enter__(self):
        self.out.write_text("")
        self.process = self.pair.lab.start(
            self.pair.backend.ns, [tools.featherlb(), "decap", "--interface", "eth0", "--json", *self.options],
            log=self.out.name, env=self.environment)

        def attached() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"decap ended: {self.text()}")
            return self.events("attached") != []

        wait_for("decap attached", attached)
        return self

    def __exit__(self, *_):
        self.stop()

    def text(self) -> str:
        return self.out.read_text()

    def events(self, kind: str) -> list[dict]:
        lines = [line for line in self.text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def counters(self) -> dict:
        before = len(self.events("counters"))
        self.process.send_signal(signal.SIGUSR1)
        return wait_for("the counters", lambda: self.events("counters")[before:])[-1]

    def stop(self) -> int:
        return self.pair.lab.stop(self.process)


@pytest.fixture(scope="module")
def pair():
    with Lab() as lab:
        yield Pair(lab)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def url(address: str, path: str) -> str:
    return f"http://{'[' + address + ']' if ':' in address else address}:{HTTP_PORT}{path}"


def get_id(pair: Pair, address: str, timeout: float = 3) -> str:
    return clients.http_get(pair.client.ns, (address, HTTP_PORT), timeout=timeout)


def offload(pair: Pair, setting: str) -> None:
    pair.client.ns.offload("eth0", tx=setting == "offload-on", tso=setting == "offload-on")
    pair.backend.ns.offload("eth0", tx=setting != "off-everywhere", tso=setting != "off-everywhere")


HOOKS = (("tc", "offload-on"), ("tc", "off-at-client"), ("tc", "off-everywhere"), ("clsact", "offload-on"),
         ("xdp", "off-everywhere"), ("xdp-generic", "off-everywhere"))
CASES = [(*hook, *tunnel) for hook in HOOKS for tunnel in TUNNELS
         if TC_CROSSES or hook[0].startswith("xdp") or tunnel[0] == tunnel[1]]


@pytest.mark.parametrize("hook,offloads,inner,outer", CASES, ids=[f"{h}-{o}-{i}-in-{u}" for h, o, i, u in CASES])
def test_twenty_megabytes_both_ways_through_each_tunnel(pair, measured, hook, offloads, inner, outer):
    offload(pair, offloads)
    pair.client.ns.offload("eth0", gro=True)
    pair.tunnel(outer)
    attach, environment = ("tc", {"FEATHERLB_NO_TCX": "1"}) if hook == "clsact" else (hook, {})
    with Decap(pair, "--attach", attach, environment=environment) as decap:
        shown = {"tc": "tcx" if KERNEL >= (6, 6) else "clsact"}.get(hook, hook)
        assert decap.events("attached")[0]["interfaces"] == [{"name": "eth0", "hook": shown}]
        address, copy = SERVICE[inner], pair.lab.directory / "copy"
        done = pair.client.ns.run(["curl", "-gsSf", "--max-time", "20", "-o", str(copy), "-w", "%{speed_download}",
                                   url(address, "/bulk")])
        assert sha256(copy) == sha256(pair.bulk)
        up = pair.client.ns.run(["curl", "-gsSf", "--max-time", "20", "-T", str(pair.bulk), "-w", "%{speed_upload}",
                                 "-o", "/dev/null", url(address, "/upload/bulk")])
        uploaded = pair.nginx.directory / "files/upload/bulk"
        assert sha256(uploaded) == sha256(pair.bulk)
        measured(f"{float(done.stdout) / 1e6:.0f} MB/s down, {float(up.stdout) / 1e6:.0f} MB/s up")
        counters = decap.counters()
        assert counters["clamped"] == 2
        assert counters["decapsulated"] > 100
        assert [counters[name] for name in ("foreign_source", "not_a_service", "fragment", "malformed",
                                            "not_possible")] == [0] * 5


def mss(pair: Pair, address: str) -> int:
    """What the client puts into a segment, timestamps (12 bytes) not counted."""
    with clients.connect(pair.client.ns, (address, HTTP_PORT)) as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) + 12


@pytest.mark.parametrize("inner,outer", TUNNELS, ids=IDS)
def test_clients_send_what_fits_into_the_tunnel(pair, inner, outer):
    header = {4: 20, 6: 40}
    offload(pair, "offload-on")
    pair.tunnel(outer)
    attach = "tc" if TC_CROSSES or inner == outer else "xdp-generic"
    with Decap(pair, "--attach", attach):
        assert mss(pair, SERVICE[inner]) == 1500 - header[outer] - header[inner] - 20
    with Decap(pair, "--attach", attach, "--mtu", "1400"):
        assert mss(pair, SERVICE[inner]) == 1400 - header[outer] - header[inner] - 20


def test_only_services_that_are_named_are_taken_out(pair):
    offload(pair, "offload-on")
    pair.tunnel(4)
    with Decap(pair, "--service", OTHER[4]) as decap:
        assert decap.events("attached")[0]["services"] == [OTHER[4]]
        assert get_id(pair, OTHER[4]) == "b1"
        with pytest.raises(OSError):
            get_id(pair, SERVICE[4], timeout=1)
        assert decap.counters()["not_a_service"] > 0


def test_only_tunnels_from_networks_that_are_named_end_here(pair):
    offload(pair, "offload-on")
    pair.tunnel(4)
    with Decap(pair, "--from", "10.2.0.0/28"):
        assert get_id(pair, SERVICE[4]) == "b1"
    with Decap(pair, "--from", "10.3.0.0/24", "--from", "fd00:2::/64") as decap:
        with pytest.raises(OSError):
            get_id(pair, SERVICE[4], timeout=1)
        assert decap.counters()["foreign_source"] > 0


def test_a_service_address_that_comes_later_is_followed(pair):
    offload(pair, "offload-on")
    pair.tunnel(4)
    pair.backend.ns.ip(f"addr del {SERVICE[4]}/32 dev lo")
    with Decap(pair) as decap:
        assert SERVICE[4] not in decap.events("attached")[0]["services"]
        with pytest.raises(OSError):
            get_id(pair, SERVICE[4], timeout=1)
        pair.backend.ns.ip(f"addr add {SERVICE[4]}/32 dev lo")
        wait_for("the address", lambda: SERVICE[4] in decap.events("attached")[-1]["services"])
        assert get_id(pair, SERVICE[4]) == "b1"


def test_an_interface_that_comes_back_is_attached_again():
    with Lab() as lab:
        pair = Pair(lab)
        pair.tunnel(4)
        with Decap(pair) as decap:
            assert get_id(pair, SERVICE[4]) == "b1"
            pair.backend.ns.ip("link del eth0")
            wait_for("that it is said", lambda: "eth0 is gone" in decap.text())
            pair.cable()
            pair.tunnel(4)
            wait_for("the interface", lambda: len(decap.events("attached")) > 1)
            assert get_id(pair, SERVICE[4]) == "b1"


def hooks(pair: Pair) -> str:
    """All programs on the backend's interface, and its qdisc."""
    shown = pair.backend.ns.run(["bpftool", "net", "show", "dev", "eth0"]).stdout
    qdisc = pair.backend.ns.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    return "\n".join(line for line in (shown + qdisc).splitlines() if "flb_" in line or "clsact" in line)


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
@pytest.mark.parametrize("environment", ({}, {"FEATHERLB_NO_TCX": "1"}), ids=("tcx", "clsact"))
def test_nothing_is_left_when_it_ends(pair, environment, number):
    with Decap(pair, environment=environment) as decap:
        if environment:
            assert "flb_decap_tc" in hooks(pair) and "flb_decap_mss" in hooks(pair)
        assert pair.lab.stop(decap.process, number) == 0
        assert [event["event"] for event in map(json.loads, decap.text().splitlines())][-2:] == ["counters", "ended"]
    assert hooks(pair) == ""


def test_what_cannot_be_is_told(pair):
    def refused(*words: str, prefix: tuple = ()) -> str:
        done = pair.backend.ns.run([*prefix, tools.featherlb(), "decap", *words], check=False, timeout=10)
        assert done.returncode == 1, done.stdout
        return done.stdout

    assert "there is no interface eth7; see `ip link`" in refused("--interface", "eth7")
    assert "lo has no Ethernet headers" in refused("--interface", "lo")
    assert "run as root, or with the capabilities" in refused(
        "--interface", "eth0", prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    program = tools.load_bpf(PROGRAMS / "pass.bpf.c", pair.lab, "xdp")
    pair.backend.ns.run(["ip", "link", "set", "dev", "eth0", "xdpgeneric", "pinned", str(program)])
    try:
        assert "eth0 has an XDP program already" in refused("--interface", "eth0", "--attach", "xdp")
    finally:
        pair.backend.ns.run(["ip", "link", "set", "dev", "eth0", "xdpgeneric", "off"])
