# SPDX-License-Identifier: Apache-2.0
"""`metrics.listen`: Prometheus itself scrapes it and agrees with `status` and with the backends' own logs; what else may
come to such a port does no harm."""
import json
import re
import signal
import socket
import time
import urllib.parse

import pytest
from labkit import tools
from labkit.backends import ECHO_PORT, HTTP_PORT
from labkit.balancer import EXIT_FAILED, Featherlb
from labkit.config import configuration, endpoint, service, write
from labkit.lab import wait_for
from labkit.netns import run
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin
VIP = service_address(4)
PORT, PROMETHEUS_PORT = 9420, 9421
DEPLOY = tools.ROOT / "deploy"
TCP_CHECK = {"type": "tcp", "interval": "200ms", "timeout": "100ms"}


def web(network, listen: str | None = f"127.0.0.1:{PORT}", **options) -> dict:
    config = configuration(network, [
        service("web", [f"{VIP}:80/tcp"], network.backends, 4, HTTP_PORT) | {"health": TCP_CHECK, "measure": "first-byte"},
        service("echo", [f"{VIP}:7/tcp"], network.backends[:1], 4, ECHO_PORT)], **options)
    return config | ({"metrics": {"listen": listen}} if listen else {})


def connect(network, address: str = "127.0.0.1", port: int = PORT) -> socket.socket:
    sock = network.balancer.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    sock.settimeout(15)
    sock.connect((address, port))
    return sock


def receive_all(sock: socket.socket) -> bytes:
    received = b""
    try:
        while part := sock.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def ask(network, path: str = "/metrics", method: str = "GET", address: str = "127.0.0.1", port: int = PORT):
    """(status code, body)"""
    with connect(network, address, port) as sock:
        host = f"[{address}]" if ":" in address else address
        sock.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = receive_all(sock).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def samples(text: str) -> dict[tuple, float]:
    """{(name, (label, value), ...): number}"""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, labels, value = re.fullmatch(r"([a-z_]+)(?:{(.*)})? (\S+)", line).groups()
        found[name, *sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))] = float(value)
    return found


def sample(text: str, name: str, **labels: str) -> float:
    return samples(text)["featherlb_" + name, *sorted(labels.items())]


def fetch(network, count: int, processes: int = 10) -> None:
    """So many requests, each in a connection of its own."""
    url = f"http://{VIP}/id?[1-{count // processes}]"
    command = ["curl", "-s", "-f", "-o", "/dev/null", "-H", "Connection: close", url]
    for process in [network.client.ns.popen(command) for _ in range(processes)]:
        assert process.wait(timeout=120) == 0


class Prometheus:
    """The real one, in the balancer's namespace. It scrapes twice a second."""

    def __init__(self, network, rules: bool = False):
        directory = network.lab.directory / f"prometheus-{time.monotonic_ns()}"
        directory.mkdir()
        file = directory / "prometheus.yml"
        files = [str(DEPLOY / "prometheus/alerts.yaml")] if rules else []
        file.write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"}, "rule_files": files,
            "scrape_configs": [{"job_name": "featherlb", "static_configs": [{"targets": [f"127.0.0.1:{PORT}"]}]}]}))
        self.network = network
        self.process = network.lab.start(
            network.balancer, ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory}/data",
                               f"--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"], log=f"{directory.name}.log")

    def __enter__(self):
        wait_for("Prometheus", lambda: self.query("up") != {}, 60)
        return self

    def __exit__(self, *_):
        self.network.lab.stop(self.process, signal.SIGKILL)

    def get(self, path: str):
        done = self.network.balancer.run(["curl", "-s", f"http://127.0.0.1:{PROMETHEUS_PORT}{path}"], check=False)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.startswith("{") else None

    def query(self, expression: str) -> dict[tuple, float]:
        answer = self.get("/api/v1/query?query=" + urllib.parse.quote(expression))
        if answer is None:
            return {}
        assert answer["status"] == "success", answer
        ignored = ("__name__", "instance", "job")
        return {tuple(sorted(i for i in row["metric"].items() if i[0] not in ignored)): float(row["value"][1])
                for row in answer["data"]["result"]}


def test_prometheus_agrees_with_status_and_with_the_backends(two_armed, measured):
    network = two_armed.network
    two_armed.servers.clear_logs()
    with Featherlb(network, web(network)) as running, Prometheus(network) as prometheus:
        fetch(network, 10_000)
        connections = {server.host.name: len({c for _, c, _ in server.requests()}) for server in two_armed.servers.nginx}
        assert sum(connections.values()) == 10_000
        status = next(s for s in running.status()["services"] if s["name"] == "web")

        def scraped():
            found = prometheus.query('featherlb_backend_connections_total{service="web"}')
            return sum(found.values()) == sum(backend["connections"] for backend in status["backends"])
        wait_for("a scrape after the requests", scraped, 15)
        for direction in ("in", "out"):
            for unit in ("packets", "bytes"):
                found = prometheus.query(f'featherlb_backend_{unit}_total{{service="web", direction="{direction}"}}')
                assert found == {(("backend", b["name"]), ("direction", direction), ("service", "web")):
                                 b[f"{unit}_{direction}"] for b in status["backends"]}
                assert prometheus.query(f'featherlb_service_{unit}_total{{service="web", direction="{direction}"}}') == {
                    (("direction", direction), ("service", "web")):
                    sum(b[f"{unit}_{direction}"] for b in status["backends"])}
        found = prometheus.query('sum by (backend) (featherlb_backend_connections_total{service="web"})')
        assert {labels[0][1]: count for labels, count in found.items()} == connections
        buckets = prometheus.query('featherlb_service_response_seconds_bucket{service="web", le="+Inf"}')
        assert sum(buckets.values()) == sum(connections.values())
        hooks = {interface["name"]: interface["hook"] for interface in running.status()["interfaces"]}
        assert prometheus.query("featherlb_attached") == {
            (("hook", hook), ("interface", name)): 1 for name, hook in hooks.items()}
        measured("10,000 connections counted alike by Prometheus, status and the backends' logs")


def test_the_text_is_to_promtools_liking(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)):
        code, text = ask(network)
        assert code == 200
        done = run(["promtool", "check", "metrics"], input=text, check=False)
        assert done.returncode == 0 and done.stdout.strip() == "", done.stdout
        assert "10.1.0." not in text, "no address of a client"
        assert all(sample(text, "dropped_packets_total", reason=reason) == 0 for reason in ("no_flow", "table_full"))


def test_checks_and_reloads_are_counted(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        before = ask(network)[1]
        assert sample(before, "config_reloads_total", result="ok") == 0
        assert time.time() - 60 < sample(before, "config_last_reload_success_timestamp_seconds") < time.time()
        running.reload()
        write(running.file, {"services": []})
        assert running.command("reload", check=False).returncode != 0
        text = ask(network)[1]
        assert sample(text, "config_reloads_total", result="ok") == 1
        assert sample(text, "config_reloads_total", result="invalid") == 1
        assert sample(text, "config_last_reload_successful") == 0
        labels = {"service": "web", "backend": network.backends[0].name}
        wait_for("checks", lambda: sample(ask(network)[1], "health_checks_total", result="good", **labels) > 3)
        text = ask(network)[1]
        average = (sample(text, "health_check_duration_seconds_sum", **labels) /
                   sample(text, "health_check_duration_seconds_count", **labels))
        assert 0 < average < 0.1
        assert ("featherlb_health_checks_total", ("backend", "b1"), ("result", "good"), ("service", "echo")) \
            not in samples(text), "echo is not checked"


def test_a_service_keeps_its_counts_when_a_backend_goes(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network, flows={"max": 16384})) as running:
        fetch(network, 300)
        before = sample(ask(network)[1], "service_connections_total", service="web", direction="in")
        assert before == 300
        fewer = web(network)
        fewer["services"][0]["backends"].pop()
        running.reload(fewer)
        gone = f"{network.backends[2].ipv4}:{HTTP_PORT}"
        wait_for("the backend to be forgotten", lambda: gone not in ask(network)[1], 180)
        assert sample(ask(network)[1], "service_connections_total", service="web", direction="in") >= before


def test_ready_says_why_not(two_armed):
    network = two_armed.network
    config = web(network)
    config["interfaces"].append({"name": "later0"})
    with Featherlb(network, web(network)) as running:
        assert ask(network, "/healthz") == (200, "ok\n")
        assert ask(network, "/readyz") == (200, "ready\n")
        network.balancer.ip("link add later0 type veth peer name later1\nlink set later0 up")
        try:
            running.reload(config)
            assert ask(network, "/readyz") == (200, "ready\n")
            network.balancer.ip("link del later0")
            why = "later0: the interface does not exist; attaching when it returns\n"
            wait_for("not ready", lambda: ask(network, "/readyz") == (503, why))
            assert ask(network, "/healthz") == (200, "ok\n")
            assert sample(ask(network)[1], "attached", interface="later0", hook="") == 0
        finally:
            network.balancer.run(["ip", "link", "del", "later0"], check=False)


def test_a_port_that_is_taken_is_said_and_nothing_is_left(two_armed):
    network = two_armed.network
    with network.balancer.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", PORT))
        taken.listen()
        running = Featherlb(network, web(network), ephemeral=False, name="taken")
        write(running.file, running.config)
        done = network.balancer.run(running.arguments(), check=False, timeout=20)
        assert done.returncode == EXIT_FAILED, done.stdout
        assert f"metrics.listen: 127.0.0.1:{PORT}: another program listens there" in done.stdout, done.stdout
        assert not running.pins.exists()


def test_reload_moves_the_port_or_changes_nothing(two_armed):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        with network.balancer.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
            taken.bind(("127.0.0.1", PORT + 10))
            taken.listen()
            write(running.file, web(network, f"127.0.0.1:{PORT + 10}", flows={"max": 1024}))
            done = running.command("reload", check=False)
            assert done.returncode == EXIT_FAILED and "another program listens there" in done.stdout, done.stdout
            assert ask(network, "/readyz") == (200, "ready\n"), "the old one is still there"
            assert sample(ask(network)[1], "config_reloads_total", result="failed") == 1
        running.reload(web(network, f"[::1]:{PORT}"))
        assert ask(network, "/readyz", address="::1") == (200, "ready\n")
        with pytest.raises(ConnectionRefusedError):
            ask(network)
        running.reload(web(network, f"0.0.0.0:{PORT}"))
        running.reload(web(network, f"127.0.0.1:{PORT}"))  # the same port: it is not in its own way
        assert ask(network, "/healthz") == (200, "ok\n")
        running.reload(web(network, None))
        with pytest.raises(ConnectionRefusedError):
            ask(network)


def test_garbage_and_slow_clients_do_not_hurt(two_armed, measured):
    network = two_armed.network
    with Featherlb(network, web(network)) as running:
        for method in ("POST", "HEAD", "DELETE", "OPTIONS", "BREW"):
            assert ask(network, method=method)[0] in (400, 405), method
        for path in ("/", "/metrics/", "/v1/status", "/v1/reload", "/../etc/passwd"):
            assert ask(network, path)[0] in (400, 404), path
        for noise in (b"\0\xff\x01 noise\r\n\r\n", b"GET " + b"x" * 100_000, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000,
                      b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"):
            with connect(network) as sock:
                try:
                    sock.sendall(noise)
                    sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                assert b"featherlb_" not in receive_all(sock)
        slow = [connect(network) for _ in range(200)]
        for sock in slow:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHo")
        began = time.monotonic()
        assert ask(network)[0] == 200
        waited = time.monotonic() - began
        began = time.monotonic()
        running.status()
        assert time.monotonic() - began < 2
        for sock in slow:
            sock.close()
        assert ask(network, "/readyz") == (200, "ready\n")
        measured(f"behind 200 slow clients a scrape waits {waited:.1f} s")


def test_rules_are_to_promtools_liking():
    for words in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = run(["promtool", *words], check=False, cwd=DEPLOY / "prometheus")
        assert done.returncode == 0, done.stdout


def test_a_backend_that_is_down_alerts(two_armed):
    """One rule from beginning to end: a check fails, the metric says so, Prometheus fires."""
    network, server = two_armed.network, two_armed.servers.nginx[0]
    with Featherlb(network, web(network)), Prometheus(network, rules=True) as prometheus:
        assert prometheus.query('ALERTS{alertname="FeatherlbBackendDown"}') == {}
        server.kill()
        try:
            wait_for("the alert", lambda: prometheus.query('ALERTS{alertname="FeatherlbBackendDown"}') == {
                (("alertname", "FeatherlbBackendDown"), ("alertstate", state), ("backend", network.backends[0].name),
                 ("service", "web"), ("severity", "warning")): 1 for state in ["firing"]}, 30)
        finally:
            server.start()


def test_a_scrape_of_a_thousand_backends_is_cheap(two_armed, measured):
    network = two_armed.network
    backends = [{"name": f"n{number}", "address": f"10.2.{4 + number // 250}.{1 + number % 250}:8080"}
                for number in range(1000)]
    config = web(network)
    config["services"] = [{"name": f"s{number}", "listen": [endpoint(VIP, 1000 + number) + "/tcp"], "algorithm": "random",
                           "backends": backends[number * 100:number * 100 + 100]} for number in range(10)]
    with Featherlb(network, config):
        times = []
        for _ in range(5):
            began = time.monotonic()
            text = ask(network)[1]
            times.append(time.monotonic() - began)
            time.sleep(1)  # or the same text would be given again
        assert len([key for key in samples(text) if key[0] == "featherlb_backend_up"]) == 1000
        measured(f"a scrape of 1,000 backends: {sorted(times)[2] * 1e3:.1f} ms, {len(text) >> 10} KiB")
        assert min(times) < 0.5
