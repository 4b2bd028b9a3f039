# SPDX-License-Identifier: Apache-2.0
"""The schema of `status --json`: it has every field that the code writes and no other, and takes what daemons in all
sorts of states print."""
import json
import re
from pathlib import Path

import jsonschema
import pytest
from labkit import clients, config as configs, talkers
from labkit.agents import AGENT_PORT, Agent
from labkit.backends import HTTP_PORT
from labkit.balancer import EXIT_FAILED, EXIT_INVALID, Featherlb
from labkit.config import configuration, endpoint, service
from labkit.lab import wait_for
from labkit.talkers import TALK_PORT, Talker
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin
REPO = Path(__file__).parents[2]
SCHEMA = json.loads((REPO / "deploy/schema/status.schema.json").read_text())
CHECK = jsonschema.Draft202012Validator(SCHEMA)
NAME, VIP = "web.lab.internal", service_address(4)
# How status_json.cpp calls what the schema calls otherwise.
TYPES = {"InterfaceStatus": "interface", "CheckStatus": "checks", "AgentStatus": "agent", "ResponseStatus": "responses",
         "TrafficStatus": "traffic", "OverrideStatus": "override", "BackendStatus": "backend", "ServiceStatus": "service",
         "FlowsStatus": "flows", "DropStatus": "drop", "EventStatus": "event", "ProgramStatus": "program", "MapStatus": "map",
         "DataPlaneStatus": "data_plane", "ReloadStatus": "reload", "ReloadCounts": "reloads"}
WORDS = {name: re.findall(r'"([^"]+)"', body) for name, body in
         re.findall(r"> (\w+)\{([^}]*)\}", (REPO / "src/config/words.h").read_text())}


def words(definition: str, field: str) -> list[str]:
    return SCHEMA["$defs"][definition]["properties"][field]["enum"]


def test_it_is_a_schema_with_a_word_on_everything():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for name, definition in {"": SCHEMA, **SCHEMA["$defs"]}.items():
        assert definition["description"] and definition["additionalProperties"] is False, name
        assert definition["required"] == list(definition["properties"]), name
        for field, what in definition["properties"].items():
            assert what.get("description") or what.get("$ref"), f"{name}.{field}"


def test_it_has_every_field_and_no_other():
    code = (REPO / "src/observe/status_json.cpp").read_text()
    fields = {kind: re.split(r",\s*", names) for kind, names in re.findall(r"^FLB_FIELDS\((\w+), ([^)]*)\)", code, re.MULTILINE)}
    assert fields.pop("Status") == SCHEMA["required"]
    assert set(fields) == set(TYPES)
    assert {TYPES[kind]: names for kind, names in fields.items()} == {
        name: definition["required"] for name, definition in SCHEMA["$defs"].items()}


def test_it_has_every_word():
    assert words("interface", "attach") == WORDS["attach"]
    assert words("service", "algorithm") == [*WORDS["algorithm"], "no longer configured"]
    assert words("service", "forward") == WORDS["forward"]
    assert words("service", "measure") == [*WORDS["measure"], ""]
    assert words("backend", "tcp_fate") == ["", *WORDS["backend_down"][1:]]
    states = re.findall(r'return "(\w+)";', (REPO / "src/observe/status.cpp").read_text())
    assert SCHEMA["$defs"]["flows"]["properties"]["by_state"]["propertyNames"]["enum"] == states
    _, drops, events = re.split(r"#define FLB_(?:DROP_REASONS|EVENTS)\(X\)", (REPO / "include/featherlb/reasons.h").read_text())
    assert words("drop", "reason") == re.findall(r"X\((\w+),", drops.split("#define")[0])
    assert words("event", "event") == re.findall(r"X\((\w+),", events.split("#define")[0])


def different(network, directory: Path) -> dict:
    """Each algorithm, each way of forwarding, and every setting that a status tells of."""
    three = network.backends
    listening = {"health": {"type": "tcp", "interval": "500ms", "timeout": "500ms"}}
    services = [service(f"by-{word}", [endpoint(VIP, 1000 + number) + "/tcp"], three, 4, HTTP_PORT, algorithm=word)
                for number, word in enumerate(WORDS["algorithm"]) if word != "resource-based"]
    services += [service(f"way-{word}-{family}", [endpoint(service_address(family), 2000 + number) + "/tcp"], three, family,
                         2000 + number, word) for number, word in enumerate(WORDS["forward"]) for family in (4, 6)]
    agent = {"port": AGENT_PORT, "interval": "1s", "timeout": "1s", "hold": "2s"}
    dead = {"name": "dead", "address": f"{three[0].ipv4}:1"}
    targets = directory / "targets.json"
    targets.write_text(json.dumps([{"targets": [endpoint(three[1].ipv4, HTTP_PORT)], "labels": {"weight": "7"}}]))
    return configuration(network, [
        *services,
        service("web", [endpoint(VIP, 80) + "/tcp", "*:8000-8003/tcp"], three, 4, HTTP_PORT, algorithm="weighted-round-robin",
                weights=[3, 1, 0]) | {**listening, "measure": "first-byte", "slow_start": "60s", "affinity": {"timeout": "1h"},
                                      "allow": ["10.2.0.0/16", "10.1.0.0/16"]},
        service("denied", [endpoint(VIP, 81) + "/tcp"], three, 4, HTTP_PORT) | {"deny": ["10.0.0.0/8"], "measure": "handshake"},
        service("agents", [endpoint(VIP, 82) + "/tcp"], three, 4, HTTP_PORT, algorithm="resource-based") | {"agent": agent},
        {"name": "dead", "listen": endpoint(VIP, 83) + "/tcp", **listening, "all_down": "refuse", "on_backend_down": "reset",
         "backends": [dead]},
        {"name": "panic", "listen": endpoint(VIP, 84) + "/tcp", **listening, "min_healthy": "60%",
         "backends": [dead, {"address": endpoint(three[1].ipv4, HTTP_PORT)}]},
        {"name": "spared", "listen": endpoint(VIP, 85) + "/tcp", **listening,
         "backends": [{"address": endpoint(three[0].ipv4, HTTP_PORT)}, {"address": endpoint(three[1].ipv4, HTTP_PORT), "backup": True}]},
        {"name": "named", "listen": endpoint(VIP, 86) + "/tcp", "backends": [{"dns": f"{NAME}:{HTTP_PORT}"}]},
        {"name": "filed", "listen": endpoint(VIP, 87) + "/tcp", "backends": [{"file": str(targets)}]},
        {"name": "nobody", "listen": endpoint(VIP, 88) + "/udp", "backends": [{"address": "10.2.0.99:53"}]},
        service("talk", [endpoint(VIP, 90) + "/tcp"], three[:1], 4, TALK_PORT)], flows={"max": 4096})


class Seen:
    """Every status is validated, and its words are kept."""

    def __init__(self, running):
        self._running, self.words = running, {}

    def look(self) -> dict:
        status = self._running.status()
        problems = [f"{list(error.absolute_path)}: {error.message}" for error in CHECK.iter_errors(status)]
        assert not problems, "\n".join(problems[:10])
        for row in status["interfaces"]:
            self.add("hook", row["hook"])
        for one in status["services"]:
            for field in ("state", "algorithm", "forward", "measure", "panic", "refusing"):
                self.add("service " + field, one[field])
            for backend in one["backends"]:
                for field in ("state", "configured", "by_name", "used", "backup", "tcp_fate"):
                    self.add(field, backend[field])
                self.add("agent", backend["agent"]["state"])
                self.add("word", backend["agent"]["word"])
                self.add("overridden", bool(backend["override"]["at"]))
        self.add("result", status["last_reload"]["result"])
        for drop in status["drops"]:
            self.add("drop", drop["reason"])
        return status

    def add(self, what: str, word) -> None:
        self.words.setdefault(what, set()).add(word)


def named(running, file: Path) -> None:
    """The daemon finds its name in a file of hosts."""
    plain = running.arguments()
    running.arguments = lambda: ["unshare", "-m", "sh", "-c", f"mount --bind {file} /etc/hosts && exec " + " ".join(plain)]


def test_daemons_of_all_sorts_are_as_it_says(two_armed):
    network, directory = two_armed.network, two_armed.lab.directory
    hosts = directory / "hosts"
    hosts.write_text(f"{network.backends[2].ipv4} {NAME}\n")
    config = different(network, directory)
    agent = Agent(network, network.backends[0], "maint\\n")
    silent = Agent(network, network.backends[1], "50%\\n")
    talker = Talker(network.backends[0])
    running = Featherlb(network, config, ephemeral=False, name="status")
    named(running, hosts)
    with running:
        seen = Seen(running)
        assert seen.look()["data_plane"]["adopted"] is False
        assert running.stop() == 0
        running.start(wait=False)
        wait_for("its socket", lambda: running.command("status", check=False).returncode == 0)
        seen.look()
        running.wait_ready()
        for _ in range(5):  # one that was repeated is not measured
            assert clients.http_get(network.client.ns, (VIP, 80)) in ("b1", "b2")
        with pytest.raises(OSError):
            clients.connect(network.client.ns, (VIP, 81), timeout=0.3)
        kept = talkers.connect(network.client, (VIP, 90))
        assert talkers.ask(kept) == "b1"
        running.command("drain", "web/b1", "--deadline", "1h")
        running.command("weight", "web/b2", "9")
        silent.say("mute")
        for wanted in (("agent", "silent"), ("word", "maint"), ("state", "down"), ("state", "standby"), ("service panic", True),
                       ("service refusing", True), ("state", "unresolved")):
            wait_for(f"{wanted}", lambda wanted=wanted: seen.look() and wanted[1] in seen.words[wanted[0]], 20, 0.2)
        running.file.write_text("nonsense")
        assert running.command("reload", check=False).returncode == EXIT_INVALID
        seen.look()
        config["services"].pop()
        config["interfaces"].append({"name": "away0", "attach": "xdp"})
        configs.write(running.file, config)
        assert running.command("reload", check=False).returncode in (0, EXIT_FAILED, EXIT_INVALID)
        del config["interfaces"][-1]
        running.reload(config)
        status = seen.look()
        assert status["services"][-1]["name"] == "talk" and status["services"][-1]["backends"][0]["open"] == 1
        wait_for("a count", lambda: seen.look()["flows"]["by_state"], 20, 0.2)
        kept.close()
        web = next(one for one in status["services"] if one["name"] == "web")
        assert web["responses"]["buckets"] and status["data_plane"]["adopted"] is True and status["data_plane"]["pins"]
    agent.stop()
    silent.stop()
    talker.close()
    assert seen.words["service algorithm"] == {*words("service", "algorithm")}
    assert seen.words["service forward"] == {*WORDS["forward"]}
    assert seen.words["service measure"] == {*words("service", "measure")}
    assert seen.words["service state"] == {"active", "draining"}
    assert seen.words["state"] == {*words("backend", "state")}
    assert {"reporting", "silent", ""} <= seen.words["agent"] and seen.words["word"] == {"", "maint"}
    assert seen.words["result"] == {"", "invalid", "ok"} and "denied" in seen.words["drop"]
    for what in ("by_name", "configured", "used", "backup", "overridden", "service panic", "service refusing"):
        assert seen.words[what] == {True, False}, what


# A field, or a word, that comes without being published must be noticed.
CHANGES = [lambda one: one.update(more=1), lambda one: one.pop("pid"), lambda one: one["services"][0].update(state="gone"),
           lambda one: one["services"][0]["backends"][0].update(open=-1), lambda one: one["flows"]["by_state"].update(odd=1),
           lambda one: one["drops"].append({"reason": "because", "text": "", "packets": 1})]


def test_an_ephemeral_one_with_each_hook_and_an_interface_that_goes(two_armed):
    network = two_armed.network
    network.balancer.ip("link add spare0 type veth peer name spare1\nlink set spare0 up\nlink set spare1 up")
    config = configuration(network, [service("web", [endpoint(VIP, 80) + "/tcp"], network.backends, 4, HTTP_PORT)], flows={"max": 1024})
    config["interfaces"] = [{"name": name, "attach": attach} for name, attach in
                            (*zip(network.interfaces, ("xdp-generic", "tc")), ("spare0", "xdp"))]
    with Featherlb(network, config, name="hooks") as running:
        seen = Seen(running)
        assert seen.look()["data_plane"]["pins"] == ""
        assert {"xdp", "xdp-generic"} < seen.words["hook"] and len(seen.words["hook"]) == 3
        network.balancer.ip("link del spare0")
        wait_for("its absence", lambda: seen.look()["interfaces"][-1]["ifindex"] == 0, 10, 0.1)
        assert "" in seen.words["hook"]
        text = running.command("status", "--json").stdout
    assert CHECK.is_valid(json.loads(text))
    for change in CHANGES:
        changed = json.loads(text)
        change(changed)
        assert not CHECK.is_valid(changed)
