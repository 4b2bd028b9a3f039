# SPDX-License-Identifier: Apache-2.0
"""The unit for systemd, and what the daemon tells systemd. No systemd runs here: its own tools judge the unit, a socket takes
what is told, and the daemon does all that it can under what the unit takes away."""
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from labkit import clients, confined, talkers
from labkit.backends import DNS_PORT, ECHO_PORT, HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.talkers import TALK_PORT, Talker
from labkit.tls import TLS_PORT, Authority, TlsNginx
from labkit.topology import service_address

UNIT = Path(__file__).parents[2] / "deploy/systemd/featherlb.service"
VIP = service_address(4)
pytestmark = pytest.mark.no_standin


def web(network) -> dict:
    return configuration(network, [{**service("web", [endpoint(VIP, 80) + "/tcp"], network.backends, 4, HTTP_PORT),
                                    "health": {"type": "tcp"}, "on_backend_down": "reset"}])


class Manager:
    """The socket that systemd would listen on."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.told: list[str] = []

    def read(self) -> list[str]:
        while True:
            try:
                self.told += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = tmp_path / "featherlb.service"
    text = UNIT.read_text().replace("/usr/sbin/featherlb", "/bin/true")
    unit.write_text(re.sub(r"^Documentation=.*$", "", text, flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=35", str(unit)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:]


def test_the_manager_hears_of_readiness_reloads_the_watchdog_and_the_end(two_armed):
    network = two_armed.network
    manager = Manager(two_armed.lab.directory / "notify")
    running = Featherlb(network, web(network), environment={"NOTIFY_SOCKET": str(two_armed.lab.directory / "notify"),
                                                            "WATCHDOG_USEC": "400000"})
    with running:
        assert "READY=1" in manager.read(), "by the time that the log says so"
        assert clients.http_get(network.client.ns, (VIP, 80)) in {"b1", "b2", "b3"}
        wait_for("the watchdog", lambda: manager.read().count("WATCHDOG=1") >= 4, 5)
        running.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: "STATUS=forwarding; last reload: ok" in manager.read())
        begun = manager.told.index("RELOADING=1")
        assert "STATUS=forwarding; last reload: ok" in manager.told[begun:]
        wait_for("ready again", lambda: "READY=1" in manager.read()[begun:])
        running.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        before = len(manager.read())
        time.sleep(1)
        assert len(manager.read()) == before, "a daemon that stands still does not feed it"
        running.process.send_signal(signal.SIGCONT)
    assert "STOPPING=1" in manager.read()


def busy(place, directory: Path, flows_max: int = 4096) -> dict:
    """Every kind of check, discovery by name and by file, an agent, what ends connections, metrics."""
    network = place.network
    one, two, three = network.backends
    fast = {"interval": "200ms", "timeout": "150ms"}
    (directory / "targets.json").write_text(json.dumps([{"targets": [endpoint(one.ipv4, HTTP_PORT)]}]))

    def listen(number: int, protocol: str = "tcp") -> list[str]:
        return [endpoint(VIP, number) + "/" + protocol]

    return configuration(network, [
        *web(network)["services"],
        service("https", listen(443), network.backends, 4, HTTP_PORT) | {
            "health": {**fast, "type": "https", "port": TLS_PORT, "path": "/up.txt", "host": "web.internal", "ca": str(place.authority.file), "timeout": "1s",
                       "interval": "1s"}},
        service("http", listen(8080), network.backends, 4, HTTP_PORT, algorithm="weighted-response-time") | {"health": {**fast, "type": "http", "path": "/id"}},
        service("dns", listen(53, "udp"), network.backends, 4, DNS_PORT) | {"health": {**fast, "type": "dns", "name": "id.test"}},
        service("udp", listen(7, "udp"), network.backends, 4, ECHO_PORT) | {"health": {**fast, "type": "udp", "send": "x", "expect": "x"}},
        service("direct", listen(9), [one], 4, 9, "dsr") | {"health": {**fast, "type": "tcp"}},
        service("agent", listen(83), [two], 4, HTTP_PORT, algorithm="resource-based") | {"agent": {"port": 9}},
        {"name": "filed", "listen": listen(84), "backends": [{"file": str(directory / "targets.json")}]},
        {"name": "named", "listen": listen(85), "backends": [{"dns": f"lost.invalid:{HTTP_PORT}", "interval": "1s"},
                                                             {"address": endpoint(three.ipv4, HTTP_PORT)}]},
        service("talk", listen(90), network.backends, 4, TALK_PORT) | {"limits": {"connections_per_source": 50}, "affinity": {"timeout": "1h"}}],
        flows={"max": flows_max}) | {"metrics": {"listen": "127.0.0.1:9420"}}


def use(place, running, directory: Path) -> None:
    """All that a running daemon is asked to do."""
    network = place.network
    assert clients.http_get(network.client.ns, (VIP, 80)) in {"b1", "b2", "b3"}
    checked = {"web", "https", "http", "dns", "udp"}
    wait_for("checks of every kind", lambda: all(backend["checks"]["good"] for one in running.status()["services"] if one["name"] in checked
                                                 for backend in one["backends"]), 30, 0.2)
    assert network.balancer.run(["curl", "-s", "-f", "http://127.0.0.1:9420/metrics"]).stdout.count("featherlb_") > 100
    listener = network.lab.start(network.balancer, running.words("events", "--json", "--kind", "decision", "--count", "1", "--for", "20s"),
                                 log="events.log")
    kept = [talkers.connect(network.client, (VIP, 90)) for _ in range(2)]
    name = talkers.ask(kept[0])
    wait_for("an event", lambda: clients.http_get(network.client.ns, (VIP, 80)) and listener.poll() == 0, 20, 0.1)
    running.command("drain", "web/b1", "--wait")
    running.command("undrain", "web/b1")
    running.command("weight", "web/b2", "0")
    running.command("plan")
    running.config["services"][0]["backends"].pop()
    running.reload(running.config)
    new = directory / "new"
    new.write_text(json.dumps([{"targets": [endpoint(network.backends[1].ipv4, HTTP_PORT)]}]))
    new.rename(directory / "targets.json")
    wait_for("the file", lambda: any(backend["state"] == "up" and backend["address"].startswith(network.backends[1].ipv4)
                                     for one in running.status()["services"] if one["name"] == "filed" for backend in one["backends"]))
    running.command("top", "--count", "1", "--json")
    running.command("flows", "--count")
    running.command("drain", f"talk/{name}", "--deadline", "1s")  # a client that only waits is told, by packets of our own making
    for sock in kept:
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        sock.close()
    running.command("undrain", f"talk/{name}")
    other = talkers.connect(network.client, (VIP, 90))
    talkers.ask(other)
    running.command("flows", "--kill", "--service", "talk", "--yes")
    with pytest.raises(ConnectionResetError):
        other.recv(1)
    other.close()


def test_what_the_unit_permits_is_enough_for_all_that_it_does(two_armed, measured):
    """The daemon is held to the unit's capabilities, system calls, read-only system and memory rules (labkit/confined.py), and does everything
    once, an upgrade with a copy of the flow table included. strace sees that nothing was refused that it might have kept to itself."""
    network, lab = two_armed.network, two_armed.lab
    two_armed.authority = Authority(lab.directory, "authority")
    tls = [TlsNginx(network, host, two_armed.authority) for host in network.backends]
    talk = [Talker(host) for host in network.backends]
    assert confined.setting(UNIT, "ReadWritePaths") == ["/sys/fs/bpf"] and confined.setting(UNIT, "RuntimeDirectory") == ["featherlb"]
    run, watched = lab.directory / "run", lab.directory / "watched"  # the lab's own BPF file system stands for the other
    run.mkdir()
    watched.mkdir()
    running = Featherlb(network, busy(two_armed, watched), ephemeral=False, name="unit")
    running.socket = run / "admin.sock"
    plain, trace = running.arguments(), lab.directory / "calls"
    running.arguments = lambda: ["strace", "-f", "-qq", "-e", "raw=bpf", "-e", "signal=none", "-o", str(trace), "/usr/bin/python3", "-B",
                                 str(Path(confined.__file__)), str(UNIT), f"/run/featherlb,{run},{running.pins.parent}", *plain]
    calls, refused = {}, []

    def stop() -> int:
        # strace passes no signal on: its child is the daemon.
        if running.process.poll() is None:
            child = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()[0]
            os.kill(int(child), signal.SIGTERM)
        return running.process.wait(20)

    running.stop = stop

    def end() -> None:
        assert running.stop() == 0
        began = False
        for line in trace.read_text(errors="replace").splitlines():
            began = began or f'execve("{running.binary}"' in line
            called = re.match(r"\d+ +(\w+)\(", line)
            if began and called:
                calls[called[1]] = calls.get(called[1], 0) + 1
                if re.search(r"= -1 (EPERM|EACCES|EROFS|ENOSYS)", line):
                    refused.append(line)

    with running:
        use(two_armed, running, watched)
        kept = talkers.connect(network.client, (VIP, 90))
        name = talkers.ask(kept)
        assert "ermission" not in running.log() and "not permitted" not in running.log(), running.log()
        end()
        running.config["flows"]["max"] = 65536
        running.start()
        assert "connections copied to the new flow table" in running.log() and talkers.ask(kept) == name
        kept.close()
        assert "ermission" not in running.log() and "not permitted" not in running.log(), running.log()
        end()
    for server in tls:
        server.stop()
    for talker in talk:
        talker.close()
    measured(f"{sum(calls.values()):,} calls of {len(calls)} kinds, {len(refused)} refused")
    assert set(calls) - confined.allowed_calls(UNIT) == set()
    assert {"bpf", "inotify_add_watch", "sendto", "rename"} <= set(calls)
    assert [line for line in refused if " clone3(" not in line] == []


# What the unit takes away, and what is left: the confinement itself must hold, or the test above shows nothing.
ATTEMPTS = {
    "writes elsewhere": "open('/var/tmp/flb-confined', 'w')",
    "writes where it may": "open(sys.argv[1] + '/x', 'w')",
    "writable code": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "writable memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)",
    "another namespace": "ctypes.CDLL(None, use_errno=True).unshare(0x20000) and 1 / 0",
    "bluetooth": "socket.socket(31, socket.SOCK_RAW, 0)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "raw packets": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)",
    "another owner": "os.chown(sys.argv[1], 1, 1)",
    "a chroot": "os.chroot('/')",
}
PERMITTED = {"writes where it may", "writable memory", "netlink", "raw packets"}


def test_the_confinement_takes_away_what_the_unit_does(tmp_path):
    program = "import ctypes, mmap, os, socket, sys\n" + "".join(
        f"try:\n    {attempt}\n    print({name!r})\nexcept Exception:\n    pass\n" for name, attempt in ATTEMPTS.items())
    done = subprocess.run(["/usr/bin/python3", "-B", confined.__file__, str(UNIT), str(tmp_path), "/usr/bin/python3", "-c", program, str(tmp_path)],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == PERMITTED
