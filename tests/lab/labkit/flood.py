# SPDX-License-Identifier: Apache-2.0
"""The network of the flood tests, and the flood.

    honest --- delay line (25 ms each way) --- router --- front [balancer] back --- backends (three addresses)
                                             flooder --- flood [        ]           XDP: counts and drops the flood's

Cables are veth and featherlb's hook is native XDP, so a forged packet is never more than a frame: made by an XDP program
in the flooder's namespace, taken off the wire at the backends' end. Honest packets come by an interface of their own.
"""
import json
import subprocess
from ipaddress import IPv4Address
from pathlib import Path

from . import counters, tools
from .backends import ECHO_PORT, NAME_PORT, Echo
from .config import endpoint, service
from .lab import Lab
from .netns import Namespace, run
from .topology import Host, service_address

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
KINDS = {"syn": 1, "ack": 2, "rst": 3, "udp": 4, "fragment": 5, "icmp": 6}
DELAY_MS = 25  # each way
VIP = service_address(4)
BACKENDS = [f"10.2.0.{11 + i}" for i in range(3)]
SOURCES = [f"10.2.0.{100 + i}" for i in range(8)]  # of connections to backends
ECHO, NAME = 7, 9


def mac(ns: Namespace, device: str) -> str:
    return json.loads(run(["ip", "-n", ns.name, "-j", "link", "show", device]).stdout)[0]["address"]


def index(ns: Namespace, device: str) -> int:
    return json.loads(run(["ip", "-n", ns.name, "-j", "link", "show", device]).stdout)[0]["ifindex"]


class FloodNetwork:
    """Up when it is made. `balancer` is the namespace that featherlb runs in."""

    interfaces = ("front", "back", "flood")

    def __init__(self, lab: Lab):
        self.lab = lab
        self.balancer, self.router, self.honest, self.flooder, self.farm = (
            lab.namespace(name) for name in ("lb", "router", "honest", "flooder", "farm"))
        lab.veth(self.router, "eth0", self.balancer, "front")
        lab.veth(self.flooder, "eth0", self.balancer, "flood")
        lab.veth(self.farm, "eth0", self.balancer, "back")
        self.backends = [Host(self.farm, f"b{i + 1}", address, "") for i, address in enumerate(BACKENDS)]
        self._delay_line()
        self._address()
        for ns, pin in ((self.farm, "sink_farm"), (self.flooder, "sink_flooder")):
            tools.load_bpf(PROGRAMS / "sink.bpf.c", lab, "xdp", pin)
            run(ns.argv(["ip", "link", "set", "dev", "eth0", "xdp", "pinned", str(lab.bpffs() / pin)]))
        # Native XDP wants whole checksums, and one of the two ends of a cable to poll.
        for ns in (self.router, self.farm, self.flooder):
            ns.offload("eth0", tx=False, tso=False, gso=False, gro=True)
        self.servers = [Echo(self, Host(self.farm, "farm", BACKENDS[0], ""))]

    def _delay_line(self) -> None:
        self.line = self.lab.start(
            self.honest, [tools.lab_load(), "delay", "--first", "line0", "--second", "line1", "--ms", str(DELAY_MS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert json.loads(self.line.stdout.readline())["ready"]
        self.honest.ip(f"link set line1 netns {self.router.name}\nlink set line0 up txqueuelen 20000")
        self.router.ip("link set line1 up txqueuelen 20000")

    def _address(self) -> None:
        self.balancer.ip("addr add 10.1.0.1/24 dev front\naddr add 10.2.0.1/24 dev back\n"
                         f"addr add {VIP}/32 dev lo\nroute add 10.100.0.0/16 via 10.1.0.2\n"
                         + "".join(f"addr add {address}/24 dev back\n" for address in SOURCES))
        self.router.ip("addr add 10.1.0.2/24 dev eth0\nroute add 10.100.0.0/16 dev line1\nroute add default via 10.1.0.1")
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.honest.ip("route add local 10.100.0.0/16 dev lo\naddr add 10.100.0.1/32 dev line0\n"
                       "route add default dev line0")
        for ns in (self.router, self.honest):
            ns.sysctl("net.ipv4.conf.all.rp_filter", 0)
        self.honest.sysctl("net.ipv4.ip_local_port_range", "1024 65000")
        self.farm.ip("".join(f"addr add {address}/24 dev eth0\n" for address in BACKENDS)
                     + "route add default via 10.2.0.1")
        self.flooder.ip("addr add 10.3.0.2/24 dev eth0")
        self.balancer.ip("addr add 10.3.0.1/24 dev flood")

    def configuration(self, flows_max: int) -> dict:
        services = [service("echo", [endpoint(VIP, ECHO) + "/tcp", endpoint(VIP, ECHO) + "/udp"], self.backends, 4,
                            ECHO_PORT),
                    service("name", [endpoint(VIP, NAME) + "/tcp"], self.backends, 4, NAME_PORT)]
        return {"interfaces": [{"name": name, "attach": "xdp"} for name in self.interfaces], "services": services,
                "flows": {"max": flows_max}, "snat": {"addresses": SOURCES}}

    def carried(self) -> int:
        """Packets that featherlb has let through: those of the flood that came to the backends, forged replies that came
        to where the forged client would be, and what was left to the balancer's own stack."""
        return self._count("sink_farm") + self._count("sink_flooder") + counters.stack(self.balancer)["IpInReceives"]

    def _count(self, pin: str) -> int:
        program = json.loads(run(["bpftool", "-j", "prog", "show", "pinned", str(self.lab.bpffs() / pin)]).stdout)
        rows = json.loads(run(["bpftool", "-j", "map", "dump", "id", str(program["map_ids"][0])]).stdout)
        return sum(int.from_bytes(bytes(int(byte, 16) for byte in cell["value"]), "little")
                   for cell in rows[0]["values"])

    def flood(self, kind: str, seconds: int, rate: int = 0) -> "Flood":
        return Flood(self, kind, seconds, rate)


class Flood:
    """Under way when it is made, on the machine's last processor; `result()` waits for its end."""

    def __init__(self, network: FloodNetwork, kind: str, seconds: int, rate: int):
        number = index(network.flooder, "eth0")
        macs = {name: ",".join("0x" + byte for byte in mac(ns, device).split(":")) for name, ns, device in (
            ("TO_MAC", network.balancer, "flood"), ("FROM_MAC", network.flooder, "eth0"))}
        pin = tools.load_bpf(
            PROGRAMS / "flood.bpf.c", network.lab, "xdp", "flood_" + kind, KIND=KINDS[kind],
            VIP=hex(int(IPv4Address(VIP))) + "u", VIP_PORT=ECHO, BACKENDS=hex(int(IPv4Address(BACKENDS[0]))) + "u",
            BACKEND_PORT=ECHO_PORT, SNAT=hex(int(IPv4Address(SOURCES[0]))) + "u", IFINDEX=number, **macs)
        self.process = network.lab.start(
            network.flooder, ["taskset", "-c", str(tools.processors()[-1]), tools.lab_load(), "flood", "--program",
                              str(pin), "--ifindex", str(number), "--seconds", str(seconds), "--rate", str(rate)],
            stdout=subprocess.PIPE, text=True)

    def running(self) -> bool:
        return self.process.poll() is None

    def result(self) -> dict:
        text = self.process.communicate(timeout=120)[0]
        if self.process.returncode != 0:
            raise RuntimeError(f"the flood ended with {self.process.returncode}: {text}")
        return json.loads(text)
