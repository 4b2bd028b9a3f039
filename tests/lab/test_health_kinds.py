# SPDX-License-Identifier: Apache-2.0
"""Health checks by TLS, by the body of a page, by UDP and by DNS against real servers: what is wrong takes a backend
out in time, with the reason; what is right brings it back."""
import contextlib
import json
import os
import signal
import time

import pytest
from conftest import Place
from labkit.backends import DNS_PORT, ECHO_PORT, HTTP_PORT, Echo
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.garbage import GARBAGE
from labkit.lab import wait_for
from labkit.tls import TLS_PORT, Authority, NamesAskedFor, TlsNginx
from labkit.topology import service_address

INTERVAL, TIMEOUT, RISE, FALL = 0.5, 0.4, 2, 3
SNI_PORT = 8444
SLACK = 1.5  # of a machine that has other things to do
TIMES = {"interval": "500ms", "timeout": "400ms", "rise": RISE, "fall": FALL}
pytestmark = pytest.mark.no_standin

@pytest.fixture(scope="module")
def place():
    place = Place("two-armed")
    place.authority = Authority(place.lab.directory, "authority")
    place.other = Authority(place.lab.directory, "other")
    place.tls = [TlsNginx(place.network, host, place.authority) for host in place.network.backends]
    yield place
    place.lab.close()


def web(network, health: dict, family: int = 4, forward: str = "snat") -> dict:
    return configuration(network, [
        {**service("web", [endpoint(service_address(family, forward), 80) + "/tcp"], network.backends, family, HTTP_PORT,
                   forward), "health": {**TIMES, **health}}])


def udp(network, port: int, health: dict) -> dict:
    """Both IP versions and ways of forwarding: dnat must not take the checks' answers for its own."""
    return configuration(network, [
        {**service(f"udp-{forward}-{family}", [endpoint(service_address(family, forward), port) + "/udp"],
                   network.backends, family, port, forward), "health": {**TIMES, **health}}
        for family in (4, 6) for forward in ("snat", "dnat")])


def https(place, **more) -> dict:
    return {"type": "https", "port": TLS_PORT, "path": "/up.txt", "host": "web.internal", "body": "ready",
            "ca": str(place.authority.file), **more}


def first(running) -> list[dict]:
    return [b for one in running.status()["services"] for b in one["backends"] if b["name"] == "b1"]


def wait_all_up(running) -> None:
    wait_for("good checks", lambda: all(
        b["state"] == "up" and b["checks"]["good"] > 1 for one in running.status()["services"] for b in one["backends"]))


def wait_first(running, state: str, timeout: float) -> float:
    began = time.monotonic()
    try:
        wait_for(f"b1 {state}", lambda: all(b["state"] == state for b in first(running)), timeout)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{json.dumps(first(running))}\n{running.log()}") from error
    return time.monotonic() - began


def fails_and_returns(running, wrong, measured, *reasons: str, interval: float = INTERVAL) -> None:
    """While `wrong` holds the first backend is down, for one of the reasons, and the others are up."""
    wait_all_up(running)
    with wrong:
        left = wait_first(running, "down", FALL * interval + TIMEOUT + SLACK)
        for backend in first(running):
            assert any(reason in backend["reason"] for reason in reasons), backend["reason"]
        others = [b for one in running.status()["services"] for b in one["backends"] if b["name"] != "b1"]
        assert all(b["state"] == "up" and b["checks"]["failed"] == 0 for b in others), running.log()
    returned = wait_first(running, "up", RISE * interval + TIMEOUT + SLACK)
    measured(f"left after {left:.2f} s, returned after {returned:.2f} s")


@contextlib.contextmanager
def certificate(place, authority=None, **how):
    """nginx of the first backend with another certificate."""
    server = place.tls[0]

    def restart(signer, **names):
        server.stop()
        signer.sign(server.directory, **names)
        server.start()

    restart(authority or place.authority, **how)
    yield
    restart(place.authority)


@contextlib.contextmanager
def replaced(place, kind: str, port: int, stop, start):
    """Something else at the port of a server."""
    stop()
    log = place.lab.directory / f"garbage-{kind}-{port}.log"
    log.write_text("")
    process = place.lab.start(place.network.backends[0].ns, ["/usr/bin/python3", "-u", "-c", GARBAGE, kind, str(port)],
                              log=log.name)
    wait_for("the garbage", lambda: "listens" in log.read_text(), 30)
    yield
    place.lab.stop(process)
    start()


@contextlib.contextmanager
def plain(place):
    place.tls[0].stop()
    place.tls[0].start(tls=False)
    yield
    place.tls[0].stop()
    place.tls[0].start()


@contextlib.contextmanager
def stopped(*processes):
    """Sockets stay open, and nobody answers."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    yield
    for process in processes:
        process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def silent_nginx(server):
    worker = [int(pid) for pid in server.host.ns.run(
        ["pgrep", "-P", str(server.process.pid)]).stdout.split()]
    for pid in worker:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in worker:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def page(server, text: str | None):
    kept = server.page.read_text()
    server.page.unlink()
    if text is not None:
        server.page.write_text(text)
    yield
    server.page.write_text(kept)


HTTPS_FAULTS = {
    "expired": (lambda place: certificate(place, days=-1), "certificate: certificate has expired"),
    "wrong-host": (lambda place: certificate(place, names="DNS:www.internal"), "certificate: hostname mismatch"),
    "unknown-signer": (lambda place: certificate(place, place.other), "certificate: unable to get local issuer"),
    "no-tls": (plain, "TLS: "),
    "garbage": (lambda place: replaced(place, "tcp", TLS_PORT, place.tls[0].stop, place.tls[0].start), "TLS: "),
    "silent": (lambda place: silent_nginx(place.tls[0]), "timeout after 400ms, waiting for the TLS handshake"),
    "wrong-body": (lambda place: page(place.tls[0], "I am going down\n"), 'the body does not contain "ready"'),
    "wrong-status": (lambda place: page(place.tls[0], None), "HTTP 404, expected 200-299"),
}


@pytest.mark.parametrize("fault", HTTPS_FAULTS)
def test_https(place, network, measured, fault):
    wrong, reason = HTTPS_FAULTS[fault]
    with Featherlb(network, web(network, https(place), 6 if fault == "expired" else 4)) as running:
        fails_and_returns(running, wrong(place), measured, reason, "connection refused")


def test_https_without_a_look_at_the_certificate(place, network):
    health = https(place, verify=False)
    del health["ca"]
    with certificate(place, place.other, names="DNS:www.internal", days=-1), \
            Featherlb(network, web(network, health)) as running:
        wait_all_up(running)
        time.sleep(FALL * INTERVAL)
        assert "is down" not in running.log()
        running.reload(web(network, https(place)))
        wait_first(running, "down", FALL * INTERVAL + TIMEOUT + SLACK)


def test_https_asks_for_the_host_by_sni(place, network):
    """RFC 6066: a name, never an address."""
    def config(**more) -> dict:
        health = https(place, port=SNI_PORT, **more)
        if "verify" in more:
            del health["ca"]
        made = web(network, health)
        del made["services"][0]["backends"][1:]
        return made

    first_name = "web.internal"
    with NamesAskedFor(network, network.backends[0], place.authority, SNI_PORT) as server, \
            Featherlb(network, config(host=first_name)) as running:
        wait_all_up(running)
        for more, line in (({"host": f"{first_name}:8443"}, f"['{first_name}'] {first_name}:8443"),
                           ({"verify": False, "host": network.backends[0].ipv4}, f"[None] {network.backends[0].ipv4}")):
            running.reload(config(**more))
            wait_for(line, lambda line=line: server.asked()[-2:] == [line] * 2)
        assert list(dict.fromkeys(server.asked())) == [f"['{first_name}'] {first_name}", f"['{first_name}'] {first_name}:8443", line]


def test_http_with_a_body(place, network, measured):
    for server in place.servers.nginx:
        (server.directory / "files" / "up.txt").write_text("ready " * 2000)
    file = place.servers.nginx[0].directory / "files" / "up.txt"

    @contextlib.contextmanager
    def other_text():
        file.write_text("steady")
        yield
        file.write_text("ready")

    with Featherlb(network, web(network, {"type": "http", "path": "/up.txt", "body": "ready ready"})) as running:
        wait_all_up(running)
        file.write_text("ready, no")
        wait_first(running, "down", FALL * INTERVAL + TIMEOUT + SLACK)
    file.write_text("ready")
    with Featherlb(network, web(network, {"type": "http", "path": "/up.txt", "body": "ready"})) as running:
        fails_and_returns(running, other_text(), measured, 'the body does not contain "ready"')


def echo_restart(place):
    """lab_load serve of the first backend, ended and started."""
    host = place.network.backends[0]

    def stop():
        place.lab.stop(place.servers.echo[0].process)

    def start():
        place.servers.echo[0] = Echo(place.network, host)
    return stop, start


@contextlib.contextmanager
def absent(place, stop, start):
    stop()
    yield
    start()


@pytest.mark.parametrize("fault", ("silent", "garbage", "gone"))
def test_udp(place, network, measured, fault):
    stop, start = echo_restart(place)
    wrong = {"silent": lambda: stopped(place.servers.echo[0].process),
             "garbage": lambda: replaced(place, "udp", ECHO_PORT, stop, start),
             "gone": lambda: absent(place, stop, start)}[fault]()
    reason = {"silent": "timeout after 400ms, waiting for an answer", "garbage": "64 bytes without",
              "gone": "port unreachable"}[fault]
    health = {"type": "udp", "send": "hex:70696e670a", "expect": "ping"}
    with Featherlb(network, udp(network, ECHO_PORT, health)) as running:
        # Linux tells of a closed port once a second; and it is closed before something else is there.
        more = ("port unreachable", "timeout after 400ms, waiting for an answer") if fault != "silent" else ()
        fails_and_returns(running, wrong, measured, reason, *more)


def test_udp_that_expects_nothing(place, network, measured):
    stop, start = echo_restart(place)
    # One service: Linux tells of a closed port once a second.
    config = udp(network, ECHO_PORT, {"type": "udp", "send": "x", "interval": "1s"})
    config["services"] = config["services"][:1]
    with Featherlb(network, config) as running:
        wait_all_up(running)
        with stopped(place.servers.echo[0].process):
            time.sleep(2.5)
            assert all(b["state"] == "up" and b["checks"]["failed"] == 0 for b in first(running)), running.log()
        fails_and_returns(running, absent(place, stop, start), measured, "port unreachable", interval=1)


def dnsmasq(place, *more: str):
    """The first backend's, with other settings."""
    host = place.network.backends[0]
    place.dnsmasq = place.lab.start(
        host.ns, ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                  f"--port={DNS_PORT}", "--bind-interfaces", "--interface=eth0", "--cache-size=0", "--user=root",
                  "--pid-file=", *more], log="dnsmasq-other.log")
    wait_for("dnsmasq", lambda: f":{DNS_PORT}" in host.ns.run(["ss", "-Hlun"], check=False).stdout)


DNS_FAULTS = {
    "silent": ("timeout after 400ms, waiting for an answer",),
    "garbage": ("the answer is not DNS", "the answer is to another question"),
    "gone": ("port unreachable",),
    "refuses": ("DNS REFUSED, expected NOERROR",),
    "knows-no-such-name": ("DNS NXDOMAIN, expected NOERROR",),
    "has-no-address": ("the answer has no A record of www.id.test",),
}


@contextlib.contextmanager
def dns_fault(place, fault: str):
    server, host = place.servers.dnsmasq[0].process, place.network.backends[0]
    records = [f"--address=/id.test/{host.ipv4}", f"--address=/id.test/{host.ipv6}"]
    if fault == "silent":
        with stopped(server):
            yield
        return
    place.lab.stop(server)
    if fault == "refuses":
        dnsmasq(place)
    elif fault == "knows-no-such-name":
        dnsmasq(place, "--address=/id.test/")
    elif fault == "has-no-address":
        dnsmasq(place, "--txt-record=www.id.test,x", "--local=/id.test/")
    if fault == "garbage":
        with replaced(place, "udp", DNS_PORT, lambda: None, lambda: None):
            yield
    else:
        yield
    if fault in ("refuses", "knows-no-such-name", "has-no-address"):
        place.lab.stop(place.dnsmasq)
    dnsmasq(place, *records)
    place.servers.dnsmasq[0].process = place.dnsmasq


@pytest.mark.parametrize("fault", DNS_FAULTS)
def test_dns(place, network, measured, fault):
    with Featherlb(network, udp(network, DNS_PORT, {"type": "dns", "name": "www.id.test"})) as running:
        fails_and_returns(running, dns_fault(place, fault), measured, *DNS_FAULTS[fault], "port unreachable", "timeout")


def test_a_backend_that_fails_is_asked_more_often(place, network, measured):
    health = {"type": "tcp", "interval": "3s", "fast_interval": "200ms", "timeout": "200ms", "jitter": "10%"}
    with Featherlb(network, web(network, health)) as running:
        wait_for("the first checks", lambda: all(b["checks"]["good"] > 0 for b in first(running)))
        place.servers.nginx[0].kill()
        left = wait_first(running, "down", 3.3 + 2 * 0.22 + 0.2 + SLACK)
        place.servers.nginx[0].start()
        returned = wait_first(running, "up", 2 * 0.22 + 0.2 + SLACK)
    measured(f"left after {left:.2f} s, returned after {returned:.2f} s, with 3 s between checks")
