# SPDX-License-Identifier: Apache-2.0
"""Frames from 1,000 clients in turn, sent by BPF_PROG_TEST_RUN with live frames: no socket, no copy, millions a second from one
processor. generator.bpf.c has the programs; here are their loading, their state (mapped), and the frames' template.
"""
import contextlib
import ctypes
import errno
import mmap
import os
import socket
import struct
import time
from pathlib import Path

from labkit import tools
from labkit.lab import Lab
from labkit.netns import Namespace, run

CLIENTS = 1000
FIRST_ADDRESS, FIRST_PORT = "10.100.1.0", 10000
PAYLOAD_BYTES = 44  # 98 bytes a frame, as in the packet bench
SYN, ACK = 0x02, 0x10
SYN_ACK_SEQUENCE = 2000
COUNT, ANSWER, KEEP = range(3)
_FRAMES, _KEPT_BYTES = 16, 98
_BURST = 192  # a veth's ring holds 256
_PACES = [(65536, 64), (8192, 8), (_BURST, 64)]  # frames a call, some 10 ms of them; frames at once
_BPF_OBJ_GET, _BPF_PROG_TEST_RUN, _LIVE_FRAMES = 7, 10, 2
_SYSCALL_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, 128)
    done = _libc.syscall(_SYSCALL_BPF, command, buffer, len(buffer))
    if done < 0 and ctypes.get_errno() != errno.EINTR:  # a signal: its handler comes now
        raise OSError(ctypes.get_errno(), f"bpf command {command}: {os.strerror(ctypes.get_errno())}")
    return done


def _open_pin(path: Path) -> int:
    name = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_BPF_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))


def _softirq_daemon() -> int:
    """Of the processor that we are pinned to: it does our work where softirqs are put off."""
    name = f"ksoftirqd/{max(os.sched_getaffinity(0))}"
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() == name:
                return int(path.parent.name)
    return 0


_KSOFTIRQD = 0


def _waited() -> float:
    """Seconds that this thread has waited for its processor, but for those in which ksoftirqd had it."""
    try:
        delay = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
        ours = int(Path(f"/proc/{_KSOFTIRQD}/schedstat").read_text().split()[0]) if _KSOFTIRQD else 0
    except OSError:  # a kernel without CONFIG_SCHED_INFO
        return 0.0
    return (delay - ours) / 1e9


class _State(ctypes.Structure):
    """struct generator_state of generator.bpf.c."""
    _fields_ = [("sent", ctypes.c_uint64), ("arrived", ctypes.c_uint64), ("answered", ctypes.c_uint64),
                *((name, ctypes.c_uint32) for name in (
                    "clients", "next", "first_address", "first_port", "device", "redirect_to", "mode", "kept", "ip_sum",
                    "tcp_sum")),
                ("headers", ctypes.c_uint8 * 56), ("frames", ctypes.c_uint8 * (_FRAMES * _KEPT_BYTES))]


def sum16(data: bytes) -> int:
    """Of 16-bit words as they lie in memory, folded; 0xffff where a checksum among them is right."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"={len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def tcp_sum(ip: bytes) -> int:
    """0xffff where TCP's checksum is right; `ip` begins with an IPv4 header without options and may be padded."""
    length = struct.unpack("!H", ip[2:4])[0] - 20
    return sum16(ip[12:20] + struct.pack("!HH", 6, length) + ip[20:20 + length])


class Generator:
    """One for all lanes: they are measured in turn."""

    def __init__(self, lab: Lab):
        global _KSOFTIRQD
        _KSOFTIRQD = _softirq_daemon()
        self.pins = lab.bpffs() / "generator"
        run(["bpftool", "prog", "loadall", str(_object(lab)), str(self.pins), "pinmaps", str(self.pins / "maps")])
        self._program = _open_pin(self.pins / "generate")
        # Each test run of a program that is attached nowhere waits for all processors (synchronize_rcu, where the kernel's XDP
        # dispatcher takes it in), for milliseconds. So it is attached, where nothing ever arrives.
        idle = lab.namespace("idle")
        lab.veth(idle, "generator", idle, "peer")
        self.attach(idle, "generator", "generate")
        self._memory = mmap.mmap(_open_pin(self.pins / "maps/state"), mmap.PAGESIZE)
        self.state = _State.from_buffer(self._memory)
        self.pace = _PACES[0]
        self.state.clients, self.state.first_port = CLIENTS, FIRST_PORT
        self.state.first_address = struct.unpack("!I", socket.inet_aton(FIRST_ADDRESS))[0]

    def attach(self, ns: Namespace, device: str, program: str) -> None:
        ns.run(["ip", "link", "set", "dev", device, "xdpdrv", "pinned", str(self.pins / program)])

    def attach_tc(self, ns: Namespace, device: str, program: str) -> None:
        """What a balancer on TC hands over to the other end of its veth comes in behind XDP."""
        ns.run(["tc", "qdisc", "add", "dev", device, "clsact"])
        ns.run(["tc", "filter", "add", "dev", device, "ingress", "bpf", "direct-action", "object-pinned",
                str(self.pins / program)])

    def aim(self, ns: Namespace, device: str, macs: tuple[str, str], to: tuple[str, int]) -> None:
        """What is sent from now on: by which device, from and to which hardware address, to which service."""
        self._ns, self._macs, self._to = ns, macs, to
        with ns.entered():
            self.state.device = socket.if_nametoindex(device)

    def send(self, flags: int, frames: int = 0, seconds: float = 0.0) -> float:
        """So many frames, one after the other's arrival, or for so long; the seconds that it took, without those that the
        processor was somebody else's. Counters start at 0."""
        payload = b"" if flags & SYN else bytes(range(PAYLOAD_BYTES))
        template = self._template(flags, payload)
        ctypes.memmove(self.state.headers, template, 54)
        self.state.sent = self.state.arrived = self.state.answered = self.state.next = 0
        data = ctypes.create_string_buffer(template, len(template))
        patience = time.monotonic() + 30
        begin, waited = time.perf_counter(), _waited()
        with self._ns.entered():
            while self.state.sent < frames or time.perf_counter() - begin < seconds:
                repeat = min(frames - self.state.sent, _BURST) if frames else self.pace[0]
                _bpf(_BPF_PROG_TEST_RUN, struct.pack(
                    "=IIIIQQIIIIQQIII", self._program, 0, len(template), 0, ctypes.addressof(data), 0, repeat, 0, 0, 0, 0, 0,
                    _LIVE_FRAMES, 0, self.pace[1]))
                while repeat <= _BURST and self.state.arrived < self.state.sent:
                    os.sched_yield()
                    if time.monotonic() > patience:
                        raise TimeoutError(f"{self.state.sent} frames were sent, {self.state.arrived} have arrived")
            took = time.perf_counter() - begin
        return took - max(0.0, _waited() - waited)

    def settle(self) -> None:
        """What is still on its way arrives, or is lost."""
        end = time.monotonic() + 0.2
        while self.state.arrived < self.state.sent and time.monotonic() < end:
            os.sched_yield()

    def go_slowly(self) -> bool:
        """Kernels before 6.4 leave softirqs to ksoftirqd once one has taken 2 ms, as under emulation, and do not hold up who
        sends: frames are lost in the middle, unseen. From now on fewer at once, at last a burst when the one before has
        arrived. False: it cannot be slower."""
        if self.pace is _PACES[-1]:
            return False
        self.pace = _PACES[_PACES.index(self.pace) + 1]
        return True

    def kept(self) -> list[bytes]:
        """The first frames that arrived in mode KEEP."""
        data = bytes(self.state.frames)
        return [data[i * _KEPT_BYTES:(i + 1) * _KEPT_BYTES] for i in range(min(self.state.kept, _FRAMES))]

    def _template(self, flags: int, payload: bytes) -> bytes:
        """Headers without the source's address and port, of which the program does the rest; and the sums of them."""
        source_mac, mac = (bytes.fromhex(text.replace(":", "")) for text in self._macs)
        address, port = self._to
        sequence, acknowledged = (1000, 0) if flags & SYN else (1001, SYN_ACK_SEQUENCE + 1)
        tcp = struct.pack("!HHIIBBHHH", 0, port, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, socket.IPPROTO_TCP, 0, bytes(4),
                         socket.inet_aton(address))
        self.state.ip_sum = sum16(ip)
        self.state.tcp_sum = sum16(ip[12:20] + struct.pack("!HH", 6, 20 + len(payload)) + tcp + payload)
        return mac + source_mac + b"\x08\x00" + ip + tcp + payload


def _object(lab: Lab) -> Path:
    """The build's, unless the source is newer."""
    source = Path(__file__).with_name("generator.bpf.c")
    built = tools.ROOT / "build/release/bpf/generator.bpf.o"
    if built.exists() and built.stat().st_mtime >= source.stat().st_mtime:
        return built
    compiled = lab.directory / "generator.bpf.o"
    run(["clang-19", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-idirafter",
         f"/usr/include/{os.uname().machine}-linux-gnu", "-c", str(source), "-o", str(compiled)])
    return compiled
