# SPDX-License-Identifier: Apache-2.0
"""Algorithms that look at the moment: every pick is checked against what was open when it was made, and the counts
against the flow table and the backends' own sockets."""
import contextlib
import errno
import http.client
import json
import math
import random
import socket
import subprocess
import threading
import time
from collections import Counter

import pytest
from labkit.config import configuration, endpoint, service
from labkit.faults import first_syn, syn_ack_to
from labkit.lab import wait_for
from labkit.netns import run
from labkit.talkers import TALK_PORT, Talker, ask, connect
from labkit.topology import service_address

from conftest import Place

pytestmark = [pytest.mark.alone, pytest.mark.no_standin]
VIP = (service_address(4), 7)
BACKENDS = 6
# States of the flow table in which a connection counts (FLB_FLOW_LOAD in abi.h).
LOAD_STATES = {2, 3, 4, 5, 6, 16, 17, 18, 19, 20, 21}
# And of the backends' sockets: nobody, or one side, has closed.
SOCKET_STATES = ("syn-recv", "established", "fin-wait-1", "fin-wait-2", "close-wait")


@pytest.fixture(scope="module")
def place():
    made = Place("two-armed", BACKENDS, http=False, dns=False, echo=False)
    made.talkers = [Talker(host) for host in made.network.backends]
    yield made
    for talker in made.talkers:
        talker.close()
    made.lab.close()


class Watch:
    """What the balancer says and holds."""

    def __init__(self, balancer, network):
        self.balancer, self.names = balancer, [host.name for host in network.backends]
        # Until its neighbour answers, a backend is unresolved and the others have its connections.
        wait_for("the way to each backend", lambda: all(
            backend["state"] != "unresolved" for backend in self.status()["services"][0]["backends"]))

    def status(self) -> dict:
        channel = http.client.HTTPConnection("localhost")
        channel.sock = socket.socket(socket.AF_UNIX)
        channel.sock.connect(str(self.balancer.socket))
        channel.request("GET", "/v1/status")
        answer = json.loads(channel.getresponse().read())
        channel.close()
        return answer

    def open(self) -> dict[str, int]:
        return {backend["name"]: backend["open"] for backend in self.status()["services"][0]["backends"]}

    def map(self, name: str) -> list[bytes]:
        text = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", str(self.balancer.pins / "maps" / name)],
                              check=True, capture_output=True, text=True).stdout
        return [bytes(int(byte, 16) for byte in row["value"]) for row in json.loads(text)]

    def table(self) -> dict[str, int]:
        """Open connections by backend, counted in the flow table."""
        found = Counter({name: 0 for name in self.names})
        for entries in self.map("flows4"):
            for at in range(0, len(entries), 64):
                control = int.from_bytes(entries[at:at + 8], "little")
                if control >> 32 & 0x7f in LOAD_STATES:
                    found[self.names[int.from_bytes(entries[at + 8:at + 12], "little") - 1]] += 1
        return dict(found)


def running(make_balancer, network, algorithm: str, weights=None, metrics=None, **settings):
    listen = [endpoint(*VIP) + "/tcp"]
    config = configuration(network, [service("talk", listen, network.backends, 4, TALK_PORT, "snat", algorithm, weights)],
                           flows={"max": 1024}, **({"metrics": metrics} if metrics else {}))
    config["services"][0].update(settings)
    return make_balancer(network, config, ephemeral=False)


def same_everywhere(watch: Watch, place, held: Counter) -> None:
    """The counts, the flow table, the backends' sockets and what we hold ourselves agree."""
    expected = {name: held[name] for name in watch.names}
    try:
        wait_for("the counts", lambda: watch.open() == expected)
    except TimeoutError as late:
        raise AssertionError(f"{late}: {watch.open()} instead of {expected}; flow table: {watch.table()}; "
                             f"{watch.status()['flows']}") from late
    assert watch.table() == expected
    assert {talker.host.name: talker.in_states(*SOCKET_STATES) for talker in place.talkers} == expected


class Client:
    """Opens and closes at random, one operation at a time, and checks each pick by `judge`."""

    def __init__(self, place, watch: Watch, judge, most: int, seed: int):
        self.place, self.watch, self.judge, self.most = place, watch, judge, most
        self.random, self.held, self.trace = random.Random(seed), [], []

    def counts(self) -> Counter:
        return Counter(name for _, name in self.held)

    def step(self) -> None:
        if self.held and self.random.random() < len(self.held) / self.most:
            client, _ = self.held.pop(self.random.randrange(len(self.held)))
            client.close()
            left = len(self.held)
            wait_for("the count goes down", lambda: sum(self.watch.open().values()) == left, pause=0.002)
            return
        before = self.watch.open()
        client = connect(self.place.network.client, VIP)
        name = ask(client)
        self.trace.append((before, name))
        self.judge(before, name)
        self.held.append((client, name))

    def close(self) -> None:
        for client, _ in self.held:
            client.close()
        self.held.clear()


def play(place, watch, judge, seconds: float, seed: int, most: int = 60) -> list:
    client = Client(place, watch, judge, most, seed)
    end, next_check = time.monotonic() + seconds, time.monotonic()
    try:
        while time.monotonic() < end:
            client.step()
            if time.monotonic() > next_check:
                same_everywhere(watch, place, client.counts())
                next_check = time.monotonic() + 3
        same_everywhere(watch, place, client.counts())
    finally:
        client.close()
    same_everywhere(watch, place, Counter())
    assert watch.status()["flows"]["corrected"] == 0
    return client.trace


def test_every_pick_of_least_connections_is_a_least_loaded_one(place, make_balancer, measured):
    def judge(before, name):
        assert before[name] == min(before.values()), (before, name)

    with running(make_balancer, place.network, "least-connections") as balancer:
        trace = play(place, Watch(balancer, place.network), judge, 60, 1)
    measured(f"{len(trace)} picks: {dict(Counter(name for _, name in trace))}")
    assert len(trace) > 100
    assert len({name for _, name in trace}) == BACKENDS


def test_every_pick_of_weighted_least_connections_is_a_least_loaded_one_for_its_weight(place, make_balancer, measured):
    weights = {host.name: weight for host, weight in zip(place.network.backends, (1, 2, 3, 4, 5, 10))}

    def judge(before, name):
        assert all(before[name] * weights[other] <= before[other] * weights[name] for other in before), (before, name)

    with running(make_balancer, place.network, "weighted-least-connections", list(weights.values())) as balancer:
        trace = play(place, Watch(balancer, place.network), judge, 20, 2)
    measured(f"{len(trace)} picks: {dict(Counter(name for _, name in trace))}")


def test_power_of_two_takes_the_lighter_of_two_at_random(place, make_balancer, measured):
    """The heaviest is never taken, and the load of those that are is, on average, that of the lighter of two."""
    totals = {"got": 0.0, "expected": 0.0, "variance": 0.0}

    def judge(before, name):
        others = [count for other, count in before.items() if other != name]
        assert before[name] <= max(others), (before, name)
        counts = list(before.values())
        lighter = [min(a, b) for i, a in enumerate(counts) for b in counts[i + 1:]]
        mean = sum(lighter) / len(lighter)
        totals["got"] += before[name]
        totals["expected"] += mean
        totals["variance"] += sum((load - mean) ** 2 for load in lighter) / len(lighter)

    with running(make_balancer, place.network, "power-of-two") as balancer:
        trace = play(place, Watch(balancer, place.network), judge, 20, 3)
    measured(f"{len(trace)} picks, sum of loads {totals['got']:.0f}, expected {totals['expected']:.0f} "
             f"+- {math.sqrt(totals['variance']):.0f}")
    assert abs(totals["got"] - totals["expected"]) <= 4.5 * math.sqrt(totals["variance"]) + 1


def test_least_connections_of_several_clients_at_once(place, make_balancer, measured):
    """Each of four clients may have had an open and a close under way while another's pick was made: so much slack."""
    clients, seconds = 4, 15
    slack, wrong, picks = 2 * (clients - 1), [], Counter()
    held = [[] for _ in range(clients)]

    def run(number: int, watch: Watch) -> None:
        rng, end = random.Random(number), time.monotonic() + seconds
        while time.monotonic() < end:
            if held[number] and rng.random() < len(held[number]) / 20:
                held[number].pop(rng.randrange(len(held[number])))[0].close()
                continue
            before = watch.open()
            client = connect(place.network.client, VIP)
            name = ask(client)
            held[number].append((client, name))
            picks[name] += 1
            if before[name] > min(before.values()) + slack:
                wrong.append((before, name))

    with running(make_balancer, place.network, "least-connections") as balancer:
        watch = Watch(balancer, place.network)
        threads = [threading.Thread(target=run, args=(number, watch)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        same_everywhere(watch, place, Counter(name for part in held for _, name in part))
        for part in held:
            for client, _ in part:
                client.close()
        same_everywhere(watch, place, Counter())
    measured(f"{sum(picks.values())} picks: {dict(picks)}")
    assert not wrong


@contextlib.contextmanager
def deaf(host, port: int):
    """A machine that does not hear what is for this TCP port; a socket that does."""
    host.ns.run(["nft", f"table inet deaf {{ chain input {{ type filter hook input priority -10; tcp dport {port} drop; }}\n}}"])
    try:
        with host.ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
            wire.bind(("eth0", 3))
            yield wire
    finally:
        host.ns.run(["nft", "delete table inet deaf"])


class Load:
    """Clients in a closed loop: connect, ask, close. Each row: (time of the answer, backend, seconds it took)."""

    def __init__(self, place, clients: int):
        self.rows, self._over = [], False
        self._threads = [threading.Thread(target=self._run, args=(place,)) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, place) -> None:
        while not self._over:
            with connect(place.network.client, VIP) as client:
                asked = time.monotonic()
                name = ask(client)
                answered = time.monotonic()
            self.rows.append((answered, name, answered - asked))

    def stop(self) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()

    def shares(self, begin: float, end: float) -> dict[str, float]:
        got = Counter(name for at, name, _ in list(self.rows) if begin <= at < end)
        return {name: count / max(1, sum(got.values())) for name, count in got.items()}

    def times(self, begin: float, end: float) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for at, name, took in list(self.rows):
            if begin <= at < end:
                found.setdefault(name, []).append(took)
        return found


def predict(times: dict[str, list[float]], weights: dict[str, int], clients: int, seconds: float) -> dict[str, float]:
    """Shares by the definition in docs/algorithms.md, played with response times as they were measured."""
    half_life, rng = 2 ** 29 / 1e9, random.Random(5)
    names = sorted(times)
    known: dict[str, tuple[float, float]] = {}
    service_known, is_open, taken, turn = None, Counter(), Counter(), 0
    under_way: list[tuple[float, str, float]] = []
    now = 0.0

    def blend(value: float, other: float, since: float) -> float:
        return other + (value - other) * 2 ** (-since / half_life)

    def score(name: str) -> float:
        mean = service_known[0] if service_known else 1e-6
        value = blend(known[name][0], mean, now - known[name][1]) if name in known else mean
        return value * (is_open[name] + 1) / weights[name]

    def begin() -> None:
        nonlocal turn
        order = names[turn:] + names[:turn]
        name = min(order, key=score)
        turn = (names.index(name) + 1) % len(names)
        is_open[name] += 1
        taken[name] += now > seconds / 4
        took = rng.choice(times[name])
        under_way.append((now + took, name, took))

    for _ in range(clients):
        begin()
    while now < seconds:
        under_way.sort()
        now, name, took = under_way.pop(0)
        known[name] = (blend(known[name][0], took, now - known[name][1]) if name in known else took, now)
        service_known = (blend(service_known[0], took, now - service_known[1]) if service_known else took, now)
        is_open[name] -= 1
        begin()
    return {name: taken[name] / sum(taken.values()) for name in names}


def test_weighted_response_time_gives_a_late_backend_what_its_score_predicts(place, make_balancer, measured):
    """All answer after 100 ms, then one 100 ms later than the others; then it recovers. The second one has twice the weight."""
    clients, talkers = 24, place.talkers[:3]
    weights = {talker.host.name: weight for talker, weight in zip(talkers, (1, 2, 1))}
    for talker in talkers:
        talker.delay = 0.1
    late = talkers[0]
    try:
        config_network = place.network
        listen = [endpoint(*VIP) + "/tcp"]
        config = configuration(config_network, [service("talk", listen, config_network.backends[:3], 4, TALK_PORT, "snat",
                                                        "weighted-response-time", list(weights.values()))], flows={"max": 1024})
        with make_balancer(config_network, config, ephemeral=False) as balancer:
            watch = Watch(balancer, config_network)
            load = Load(place, clients)
            time.sleep(5)
            late.delay = 0.2
            slow_from = time.monotonic() + 4
            time.sleep(19)
            slow_to = time.monotonic()
            late.delay = 0.1
            time.sleep(18)
            end = time.monotonic()
            load.stop()
            status = watch.status()["services"][0]
    finally:
        for talker in place.talkers:
            talker.delay = 0.0
    got = load.shares(slow_from, slow_to)
    predicted = predict(load.times(slow_from, slow_to), weights, clients, 60)
    normal = load.shares(slow_to + 10, end)
    measured("; ".join(f"{name} (weight {weight}{', the late one' if name == late.host.name else ''}): share {got[name]:.3f}, predicted "
                       f"{predicted[name]:.3f}, later {normal[name]:.3f}" for name, weight in weights.items()))
    assert all(abs(got[name] - predicted[name]) < 0.03 for name in weights), (got, predicted)
    assert got[late.host.name] < 0.13 < 0.19 < normal[late.host.name] < 0.31
    heavy, light = (talker.host.name for talker in talkers[1:])
    assert got[heavy] > 1.7 * got[light] and normal[heavy] > 1.7 * normal[light]
    assert status["measure"] == "first-byte"
    responses = status["responses"]
    assert responses["count"] == sum(responses["buckets"]) == sum(b["responses"]["count"] for b in status["backends"])
    assert abs(responses["count"] - len(load.rows)) <= clients
    assert 0.09 < responses["smoothed_seconds"] < 0.3


def test_a_handshake_is_measured_and_not_what_the_server_does_then(place, make_balancer, measured):
    """All answer 100 ms late. Then the first one's host hears nothing, and a SYN-ACK of our own comes 200 ms after the SYN."""
    network, late = place.network, place.network.backends[0]
    for talker in place.talkers:
        talker.delay = 0.1

    def responses(watch) -> list[dict]:
        return [backend["responses"] for backend in watch.status()["services"][0]["backends"]]

    try:
        with running(make_balancer, network, "weighted-least-connections", measure="handshake") as balancer:
            watch = Watch(balancer, network)
            assert watch.status()["services"][0]["measure"] == "handshake"
            for _ in range(2 * BACKENDS):
                with connect(network.client, VIP) as client:
                    ask(client)
            usual = [one["sum_seconds"] / max(1, one["count"]) for one in responses(watch)]
            assert sum(one["count"] for one in responses(watch)) == 2 * BACKENDS
            assert max(usual) < 0.05, usual
            for host in network.backends[1:]:
                balancer.command("drain", f"talk/{host.name}")
            before = responses(watch)[0]
            with deaf(late, TALK_PORT) as wire, network.client.ns.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
                client.setblocking(False)
                assert client.connect_ex(VIP) == errno.EINPROGRESS
                syn = first_syn(wire, TALK_PORT)
                time.sleep(0.2)
                wire.send(syn_ack_to(syn))
                wait_for("the measured handshake", lambda: responses(watch)[0]["count"] == before["count"] + 1)
                took = responses(watch)[0]["sum_seconds"] - before["sum_seconds"]
            for host in network.backends[1:]:  # or it holds for the next daemon at this socket, too
                balancer.command("undrain", f"talk/{host.name}")
    finally:
        for talker in place.talkers:
            talker.delay = 0.0
    measured(f"handshakes took {max(usual) * 1e3:.1f} ms at most, and {took * 1e3:.0f} ms where the SYN-ACK came after 200 ms")
    assert 0.2 <= took < 1


def test_a_count_that_is_wrong_is_put_right_and_that_is_told(place, make_balancer):
    """As if a daemon had died between freeing a connection and counting it (docs/adr/0007-open-connections.md)."""
    with running(make_balancer, place.network, "least-connections", metrics={"listen": "127.0.0.1:9423"}) as balancer:
        watch = Watch(balancer, place.network)
        held = [connect(place.network.client, VIP) for _ in range(BACKENDS)]
        for client in held:
            ask(client)
        right = {name: 1 for name in watch.names}
        same_everywhere(watch, place, Counter(right))
        record = bytearray(watch.map("backend_loads")[1])  # begins with the count
        record[:4] = (6).to_bytes(4, "little")
        run(["bpftool", "map", "update", "pinned", str(balancer.pins / "maps" / "backend_loads"), "key", "hex", "01", "00",
             "00", "00", "value", "hex", *(f"{byte:02x}" for byte in record)])
        wait_for("the correction", lambda: watch.status()["flows"]["corrected"] == 1, 60)
        assert watch.open() == right
        same_everywhere(watch, place, Counter(right))
        address = place.network.backends[0].address(4)
        assert f"the count of open connections of {address}:{TALK_PORT} was 6 and is 1 by the flow table: corrected" in \
            balancer.log()
        shown = place.network.balancer.run(["curl", "-sSf", "http://127.0.0.1:9423/metrics"]).stdout
        assert "featherlb_loads_corrected_total 1" in shown.splitlines()
        for client in held:
            client.close()
        same_everywhere(watch, place, Counter())
        assert watch.status()["flows"]["corrected"] == 1
