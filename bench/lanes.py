# SPDX-License-Identifier: Apache-2.0
"""The throughput benchmark's lanes: generator, balancer and sink in three namespaces on two cables, one lane for each way of
forwarding. All lanes are set up at once and measured in turn.

    c: eth0 ---- front [balancer] back ---- eth0: s      10.1.0.0/24, 10.2.0.0/24, services 10.9.0.x, clients 10.100.0.0/16

Each end of both cables has an XDP program, as frames that XDP sends through veth need one at the other end. Where a kernel
forwards, the balancer's own ends have one that passes everything: faster for the kernel than GRO, the other way to get
frames without a socket buffer into it.
"""
import json
import socket

import live_frames
from labkit import standin
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import Lab, wait_for
from labkit.netns import Namespace
from labkit.topology import Host
from live_frames import Generator

BACKENDS = 10
BACKEND_PORT, SERVICE_PORT = 8080, 80
FORWARDS = {"snat": "10.9.0.1", "dnat": "10.9.0.2", "dsr": "10.9.0.5", "ipip": "10.9.0.6"}


class Missing(Exception):
    """This kernel, or this machine, has not what the lane needs."""


class Lane:
    """What Network is to the lab's balancers: namespaces, devices, forwarding on and off."""

    interfaces = ("front", "back")
    hook = "pass"  # program on the balancer's ends; None: the balancer brings its own
    answers = True  # the backends' SYN-ACKs come back through the balancer

    def __init__(self, lab: Lab, generator: Generator, name: str):
        self.lab, self.generator, self.name = lab, generator, name
        self.client, self.balancer, self.sink = (lab.namespace(f"{name}-{end}") for end in ("c", "lb", "s"))
        lab.veth(self.client, "eth0", self.balancer, "front")
        lab.veth(self.balancer, "back", self.sink, "eth0")
        self.hosts = [Host(self.sink, f"b{i}", f"10.2.0.{11 + i}", "") for i in range(BACKENDS)]
        self.client.ip("addr add 10.1.0.2/24 dev eth0")
        self.sink.ip("\n".join(f"addr add {host.ipv4}/24 dev eth0" for host in self.hosts))
        self.balancer.ip("addr add 10.1.0.1/24 dev front\naddr add 10.2.0.1/24 dev back\n"
                         "route add 10.100.0.0/16 via 10.1.0.2\n" +
                         "\n".join(f"addr add {address}/32 dev lo" for address in FORWARDS.values()))
        self.macs = {(ns.name, device): _mac(ns, device) for ns, device in (
            (self.client, "eth0"), (self.balancer, "front"), (self.balancer, "back"), (self.sink, "eth0"))}
        generator.attach(self.client, "eth0", "answers")
        generator.attach(self.sink, "eth0", "sink")
        generator.attach_tc(self.client, "eth0", "answers_tc")
        generator.attach_tc(self.sink, "eth0", "sink_tc")
        if self.hook:
            generator.attach(self.balancer, "front", self.hook)
            generator.attach(self.balancer, "back", self.hook)

    def set_forwarding(self, on: bool) -> None:
        self.balancer.sysctl("net.ipv4.ip_forward", int(on))

    def service(self, forward: str) -> dict:
        port = BACKEND_PORT if forward in ("snat", "dnat") else SERVICE_PORT
        return service(forward, [f"{FORWARDS[forward]}:{SERVICE_PORT}/tcp"], self.hosts, 4, port, forward, "maglev")

    def start(self) -> None:
        """Forwards from now on, until stop()."""

    def stop(self) -> None:
        """The namespaces' end takes the rest."""

    def target(self) -> tuple[str, int]:
        """Where clients send to."""
        return FORWARDS["dnat"], SERVICE_PORT

    def took(self, arrived: int) -> None:
        """So many frames went this way while it was measured."""

    def aim(self) -> None:
        self.generator.aim(self.client, "eth0", (self.macs[self.client.name, "eth0"],
                                                 self.macs[self.balancer.name, "front"]), self.target())

    def resolve(self) -> None:
        """Neighbours, or the first frames would wait for ARP, and there is room for a hundred only."""
        for address in ("10.1.0.2", *(host.ipv4 for host in self.hosts)):
            self.balancer.run(["ping", "-c", "1", "-W", "2", address])

    def open_connections(self) -> None:
        """A SYN of every client, and the SYN-ACK back."""
        self.resolve()
        self.aim()
        generator, state = self.generator, self.generator.state
        state.mode = live_frames.ANSWER
        generator.send(live_frames.SYN, frames=live_frames.CLIENTS)
        if self.answers:
            wait_for(f"{self.name}: SYN-ACKs at the client", lambda: state.answered == live_frames.CLIENTS, 10)

    def prove_connections(self) -> None:
        """The clients' ACKs, of which some are looked at. One way, what proves a connection comes later than its SYN: by a
        tick, about a second; so this is another step, after a pause for all."""
        self.aim()
        generator, state = self.generator, self.generator.state
        state.mode, state.kept = live_frames.KEEP, 0
        generator.send(live_frames.ACK, frames=live_frames.CLIENTS)
        frames = generator.kept()
        assert frames, self.name
        for frame in frames:
            self.verify(frame)
        state.mode = live_frames.COUNT

    def verify(self, frame: bytes, source: str = "10.100.", sent: bool = True) -> None:
        """A frame at the backends: addresses, time to live, checksums, payload."""
        where = f"{self.name}: {frame.hex()}"
        ip = frame[14:]
        if sent:
            assert frame[:6] == bytes.fromhex(self.macs[self.sink.name, "eth0"].replace(":", "")), where
            assert frame[6:12] == bytes.fromhex(self.macs[self.balancer.name, "back"].replace(":", "")), where
            assert ip[8] == 63, where
        assert live_frames.sum16(ip[:20]) == 0xffff and live_frames.tcp_sum(ip) == 0xffff, where
        assert socket.inet_ntoa(ip[12:16]).startswith(source), where
        assert ip[40:84] == bytes(range(live_frames.PAYLOAD_BYTES)), where
        self.verify_target(ip, where)

    def verify_target(self, ip: bytes, where: str) -> None:
        assert socket.inet_ntoa(ip[16:20]) in [host.ipv4 for host in self.hosts], where
        assert ip[22:24] == BACKEND_PORT.to_bytes(2, "big"), where


class Redirect(Lane):
    """The floor: an XDP program that redirects every frame, unseen."""

    hook = None
    answers = False

    def start(self):
        with self.balancer.entered():
            self.back = socket.if_nametoindex("back")
        self.generator.attach(self.balancer, "front", "redirect")
        self.generator.attach(self.balancer, "back", "pass")

    def resolve(self):
        """ARP is redirected like everything else."""

    def aim(self):
        super().aim()
        self.generator.state.redirect_to = self.back

    def verify(self, frame, **_):
        super().verify(frame, sent=False)

    def verify_target(self, ip, where):
        assert socket.inet_ntoa(ip[16:20]) == self.target()[0], where


class OwnProgram(Lane):
    """featherlb by XDP."""

    hook = None


class Routed(Lane):
    def start(self):
        self.set_forwarding(True)

    def target(self):
        return self.hosts[0].ipv4, BACKEND_PORT


class Nft(Lane):
    def start(self):
        standin.Nft(self, configuration(self, [self.service("dnat")])).start()


class Iptables(Lane):
    """Whatever Debian's `iptables` is: over nftables, or the old one."""

    def start(self):
        left = BACKENDS
        for host in self.hosts:
            turn = ["-m", "statistic", "--mode", "nth", "--every", str(left), "--packet", "0"] if left > 1 else []
            self._need(["iptables", "-t", "nat", "-A", "PREROUTING", "-d", FORWARDS["dnat"], "-p", "tcp", "--dport",
                        str(SERVICE_PORT), *turn, "-j", "DNAT", "--to-destination", endpoint(host.ipv4, BACKEND_PORT)])
            left -= 1
        self.set_forwarding(True)

    def _need(self, command: list[str]) -> None:
        done = self.balancer.run(command, check=False)
        if done.returncode:
            raise Missing(f"not in this kernel: {done.stdout.strip().splitlines()[-1]}")


class Ipvs(Lane):
    """IPVS, masquerading: the one way of it that rewrites ports."""

    def start(self):
        try:
            self.balancer.read("/proc/thread-self/net/ip_vs")
        except OSError as error:
            raise Missing("not in this kernel") from error
        to = f"{FORWARDS['dnat']}:{SERVICE_PORT}"
        try:
            self.balancer.run(["ipvsadm", "-A", "-t", to, "-s", "rr"])
        except RuntimeError as error:
            raise Missing("ipvsadm is not installed") from error
        for host in self.hosts:
            self.balancer.run(["ipvsadm", "-a", "-t", to, "-r", endpoint(host.ipv4, BACKEND_PORT), "-m"])
        self.set_forwarding(True)


class Daemon:
    """featherlb in a lane of its own, which several rows share."""

    def __init__(self, lane: Lane, attach: str, forwards: list[str]):
        self.lane = lane
        config = configuration(lane, [lane.service(forward) for forward in forwards], attach)
        self.featherlb = Featherlb(lane, config, name=f"featherlb-{attach}")
        self.featherlb.start()
        self.arrived = 0  # of its rows, since the connections are open

    def packets(self) -> int:
        """Of all clients so far, as `status` counts them."""
        return sum(backend["packets_in"] for one in self.featherlb.status()["services"] for backend in one["backends"])

    def check_established(self, connections: int) -> None:
        count = json.loads(self.featherlb.command("flows", "--count", "--json").stdout)
        assert count["by_state"] == {"established": connections}, count["by_state"]

    def check_counted(self, before: int) -> None:
        """featherlb has forwarded what the sink has counted, and nothing twice."""
        counted = self.packets() - before
        assert counted == self.arrived, f"{self.lane.name}: {counted} packets forwarded, {self.arrived} arrived"


class Balanced(Lane):
    """A row of featherlb: another service of the same lane for each way of forwarding."""

    def __init__(self, lane: Lane, forward: str, daemon: Daemon):
        self.__dict__.update(lane.__dict__)
        self.name, self.forward, self.daemon = f"{lane.name}-{forward}", forward, daemon
        self.answers = forward in ("snat", "dnat")

    def target(self):
        return FORWARDS[self.forward], SERVICE_PORT

    def took(self, arrived: int) -> None:
        self.daemon.arrived += arrived

    def verify(self, frame, **_):
        if self.forward == "ipip":  # the outer header, then the client's packet, cut where the sink stopped copying
            outer, inner = frame[14:34], frame[34:]
            assert outer[9] == 4 and live_frames.sum16(outer) == 0xffff, frame.hex()
            assert socket.inet_ntoa(outer[16:20]) in [host.ipv4 for host in self.hosts], frame.hex()
            assert live_frames.sum16(inner[:20]) == 0xffff, frame.hex()
            assert socket.inet_ntoa(inner[16:20]) == self.target()[0], frame.hex()
            return
        super().verify(frame, source="10.2.0.1" if self.forward == "snat" else "10.100.")

    def verify_target(self, ip, where):
        if self.forward == "dsr":
            assert socket.inet_ntoa(ip[16:20]) == self.target()[0], where
        else:
            super().verify_target(ip, where)


def _mac(ns: Namespace, device: str) -> str:
    words = ns.run(["ip", "-o", "link", "show", "dev", device]).stdout.split()
    return words[words.index("link/ether") + 1]
