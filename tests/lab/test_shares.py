# SPDX-License-Identifier: Apache-2.0
"""Shares that change while the daemon runs: agents, slow start, backups. Counted by the connections that the backends
got, and how soon."""
import itertools
import time
from collections import Counter

import pytest
from conftest import Place
from labkit import load
from labkit.agents import AGENT_PORT, Agents
from labkit.backends import HTTP_PORT, NAME_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.topology import service_address

VIP = service_address(4)
INTERVAL, TIMEOUT = 0.5, 0.4
SLACK = 1.5  # of a machine that has other things to do
AGENT = {"port": AGENT_PORT, "interval": "500ms", "timeout": "400ms", "hold": "3s"}
TCP = {"type": "tcp", "port": HTTP_PORT, "interval": "500ms", "timeout": "400ms", "rise": 2, "fall": 3}
_numbers = itertools.count()
pytestmark = [pytest.mark.alone, pytest.mark.no_standin]


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", dns=False)
    yield place
    place.lab.close()


@pytest.fixture
def agents(network):
    with Agents(network) as agents:
        yield agents


def name_service(network, algorithm: str = "resource-based", weights=None, backups=(), **settings) -> dict:
    one = service("name", [endpoint(VIP, 9) + "/tcp"], network.backends, 4, NAME_PORT, "snat", algorithm, weights)
    for index in backups:
        one["backends"][index]["backup"] = True
    # Ports that no test before used: a backend is in TIME_WAIT for a minute after it has closed a connection.
    first = 1024 + 3000 * (next(_numbers) % 10)
    return configuration(network, [{**one, **settings}], snat={"ports": f"{first}-{first + 2999}"})


def shares(place, count: int = 200) -> dict[str, float]:
    """In percent of so many new connections, one after another."""
    names = Counter(name for _, name in load.picks(place.network.client.ns, (VIP, 9), place.lab, count))
    return {name: 100 * number / count for name, number in names.items()}


def backend(running, index: int) -> dict:
    return running.status()["services"][0]["backends"][index]


def wait_backend(running, index: int, what: str, condition, timeout: float = INTERVAL + TIMEOUT + SLACK) -> float:
    began = time.monotonic()
    wait_for(f"b{index + 1} {what}", lambda: condition(backend(running, index)), timeout)
    return time.monotonic() - began


def wait_percent(running, index: int, percent: int, timeout: float = INTERVAL + TIMEOUT + SLACK) -> float:
    """Until the agent's word counts, in the tables, too."""
    return wait_backend(running, index, f"at {percent}%", lambda b: b["agent"]["percent"] == percent
                        and b["weight_now"] == b["weight"] * percent / 100, timeout)


def test_shares_follow_what_the_agents_report(place, network, agents, measured):
    with Featherlb(network, name_service(network, weights=[2, 1, 1], agent=AGENT)) as running:
        for index in range(3):
            wait_percent(running, index, 100)
        assert shares(place) == {"b1": 50, "b2": 25, "b3": 25}
        agents[0].say("50%\\n")
        large = wait_percent(running, 0, 50)
        assert shares(place, 300) == pytest.approx({"b1": 100 / 3, "b2": 100 / 3, "b3": 100 / 3}, abs=0.5)
        agents[1].say("90%\\n")  # a small change is halved with each of up to five reports
        small = wait_percent(running, 1, 90, 5 * INTERVAL + TIMEOUT + SLACK)
        assert shares(place, 290) == pytest.approx({"b1": 34.5, "b2": 31.0, "b3": 34.5}, abs=0.5)
        agents[2].say("0%\\n")
        wait_percent(running, 2, 0)
        assert "b3" not in shares(place)
        assert backend(running, 2)["state"] == "up"
        for agent in agents:
            agent.say("0%\\n")
        for index in range(3):
            wait_percent(running, index, 0)
        assert shares(place) == {"b1": 50, "b2": 25, "b3": 25}, "nobody has anything to give: by weight"
    measured(f"a change of 50 points counted after {large:.2f} s, one of 10 points in full after {small:.2f} s")


def test_drain_maint_and_down_take_no_connections_until_they_are_taken_back(place, network, agents):
    with Featherlb(network, name_service(network, agent=AGENT)) as running:
        wait_percent(running, 0, 100)
        for word, state, back in (("drain", "draining", "ready"), ("maint # disk", "draining", "ready"),
                                  ("down", "down", "up"), ("stopped # by hand", "down", "up")):
            agents[0].say(word + "\\n")
            wait_backend(running, 0, state, lambda b, state=state: b["state"] == state)
            assert set(shares(place, 60)) == {"b2", "b3"}
            assert backend(running, 0)["agent"]["word"] == word.split()[0]
            agents[0].say("100%\\n")
            agents[0].next_question()
            assert backend(running, 0)["state"] == state, "a percentage takes nothing back"
            agents[0].say(back + "\\n")
            wait_backend(running, 0, "up", lambda b: b["state"] == "up")
            assert shares(place, 60) == pytest.approx({"b1": 33.3, "b2": 33.3, "b3": 33.3}, abs=0.1)
        assert 'takes it down: "by hand"' in running.log()
        assert 'drains it (maint): "disk"' in running.log()


def test_rubbish_changes_nothing(place, network, agents):
    with Featherlb(network, name_service(network, agent={**AGENT, "hold": "1h"})) as running:
        agents[0].say("50%\\n")
        wait_percent(running, 0, 50)
        for text in ("quite busy\\n", "50\\n", "\\n", "x" * 300, "\xff\x00\\n", ""):
            failed = backend(running, 0)["agent"]["failed"]
            agents[0].say(text)
            wait_backend(running, 0, "failed", lambda b, failed=failed: b["agent"]["failed"] > failed + 1)
            assert backend(running, 0)["agent"]["percent"] == 50
        assert shares(place, 250) == pytest.approx({"b1": 20, "b2": 40, "b3": 40}, abs=0.5)
        assert 'it says a word that is not known: \\"quite\\"' in running.log() or \
            'it says a word that is not known: "quite"' in running.log()


@pytest.mark.slow
@pytest.mark.parametrize("how", ("refused", "mute", "gone"))
def test_a_silent_agent_leaves_its_backend_the_average(place, network, agents, measured, how):
    hold = 8
    with Featherlb(network, name_service(network, agent={**AGENT, "hold": f"{hold}s"})) as running:
        for agent, text in zip(agents, ("10%\\n", "60%\\n", "40%\\n")):
            agent.say(text)
        for index, percent in enumerate((10, 60, 40)):
            wait_percent(running, index, percent)
        began = time.monotonic()
        if how == "mute":
            agents[0].say("mute")
        elif how == "refused":
            agents[0].stop()
        else:
            network.backends[0].ns.run(["ip", "rule", "add", "ipproto", "tcp", "sport", str(AGENT_PORT), "blackhole"])
        try:
            wait_backend(running, 0, "failed", lambda b: b["agent"]["failed"] >= 2, 3)
            assert backend(running, 0)["agent"] | {"state": "reporting", "percent": 10} == backend(running, 0)["agent"]
            assert shares(place, 220)["b1"] == pytest.approx(9.1, abs=1), "what it said last holds"
            wait_backend(running, 0, "silent", lambda b: b["agent"]["state"] == "silent"
                                and b["weight_now"] == 0.5, hold + 15)
            took = time.monotonic() - began
            assert shares(place, 300)["b1"] == pytest.approx(100 / 3, abs=1), "the average of 60 and 40"
            assert "agent: silent" in running.command("status").stdout
        finally:
            if how == "gone":
                network.backends[0].ns.run(["ip", "rule", "del", "ipproto", "tcp", "sport", str(AGENT_PORT)])
        if how == "refused":
            agents[0].start()
        agents[0].say("100%\\n")
        wait_percent(running, 0, 100)
        assert shares(place, 200)["b1"] == pytest.approx(50, abs=1)
    measured(f"{how}: silent after {took:.2f} s")


def test_what_is_configured_is_sent_first(network, agents):
    with Featherlb(network, name_service(network, agent={**AGENT, "send": "name/b1\n"})):
        assert agents[0].next_question() == repr("name/b1\n")


def test_a_daemon_that_starts_again_keeps_what_agents_took_away(place, network, agents):
    with Featherlb(network, name_service(network, agent=AGENT), ephemeral=False) as running:
        agents[0].say("maint\\n")
        agents[1].say("down\\n")
        wait_backend(running, 0, "draining", lambda b: b["state"] == "draining")
        wait_backend(running, 1, "down", lambda b: b["state"] == "down")
        running.stop()
        agents[0].stop()
        running.start()
        assert set(shares(place, 30)) == {"b3"}
        assert backend(running, 0)["state"] == "draining"


def test_backups_stand_in_and_give_back(place, network, measured):
    config = name_service(network, "round-robin", backups=(1, 2), health=TCP)
    with Featherlb(network, config) as running:
        wait_for("checks", lambda: all(
            b["checks"]["good"] for b in running.status()["services"][0]["backends"]))
        assert [backend(running, i)["state"] for i in range(3)] == ["up", "standby", "standby"]
        assert shares(place, 30) == {"b1": 100}
        place.servers.nginx[0].kill()
        took = wait_backend(running, 0, "down", lambda b: b["state"] == "down", 3 * INTERVAL + TIMEOUT + SLACK)
        assert shares(place, 30) == {"b2": 50, "b3": 50}
        assert "backup, in use" in running.command("status").stdout
        place.servers.nginx[0].start()
        back = wait_backend(running, 0, "up", lambda b: b["state"] == "up", 2 * INTERVAL + TIMEOUT + SLACK)
        assert shares(place, 30) == {"b1": 100}
    measured(f"took over after {took:.2f} s, gave back after {back:.2f} s")


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ("weighted-round-robin", "maglev"))
def test_a_backend_that_returns_starts_slowly(place, network, measured, algorithm):
    duration = 9
    with Featherlb(network, name_service(network, algorithm, health=TCP, slow_start=f"{duration}s")) as running:
        wait_for("checks", lambda: all(
            b["checks"]["good"] for b in running.status()["services"][0]["backends"]))
        assert shares(place, 300)["b1"] == pytest.approx(33, abs=9), "nobody starts slowly with the daemon"
        place.servers.nginx[0].kill()
        wait_backend(running, 0, "down", lambda b: b["state"] == "down", 4)
        place.servers.nginx[0].start()
        wait_backend(running, 0, "up", lambda b: b["state"] == "up", 4)
        began = time.monotonic()
        seen, full = [], None
        while not seen or seen[-1][0] < 100:
            before = wait_for("the next step", lambda: next(
                (p for p in [backend(running, 0)["slow_start_percent"]] if not seen or p > seen[-1][0]), 0), duration)
            full = time.monotonic() - began
            share = shares(place, 400).get("b1", 0)
            seen.append((before, backend(running, 0)["slow_start_percent"], share))
    measured(f"{algorithm}: percent of its share -> percent of the connections: "
             f"{', '.join(f'{step}: {share:.1f}' for step, _, share in seen)}; full after {full:.1f} s")
    assert seen[0][0] == 10
    assert duration - 1 <= full <= duration + SLACK
    assert len(seen) >= 6, "most of the ten steps are seen"

    def due(percent: int) -> float:  # of all connections, in percent
        part = percent / 100
        return 100 * part / (part + 2) if algorithm == "weighted-round-robin" else 100 * part / 3

    scatter = 1.0 if algorithm == "weighted-round-robin" else 9.5  # maglev: four standard deviations of 400 picks
    for before, after, share in seen:
        assert due(before) - scatter <= share <= due(after) + scatter
