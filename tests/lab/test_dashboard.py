# SPDX-License-Identifier: Apache-2.0
"""deploy/grafana: the dashboard is JSON that asks for nothing that a daemon does not give, in units that are said."""
import json
import re
import socket

import pytest
from labkit import tools
from labkit.backends import HTTP_PORT
from labkit.balancer import Featherlb
from labkit.config import configuration, service
from labkit.netns import run
from labkit.topology import service_address

pytestmark = pytest.mark.no_standin
PORT = 9420
BOARD = json.loads((tools.ROOT / "deploy/grafana/featherlb.json").read_text())
# Grafana's names. `short` is a plain number.
UNITS = {"short", "bps", "pps", "cps", "ops", "s", "bytes", "percentunit"}
SCRAPED = {"instance", "job"}  # what Prometheus adds


def panels(of: list[dict] = BOARD["panels"]) -> list[dict]:
    found = []
    for panel in of:
        found += panels(panel.get("panels", [])) + ([panel] if panel["type"] != "row" else [])
    return found


def expressions() -> list[tuple[str, str]]:
    found = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            assert variable["definition"] == variable["query"]["query"]
            found.append((variable["name"], variable["definition"]))
    return found


def selectors(expression: str) -> dict[str, set[str]]:
    """Metric: the labels that its selectors and, for label_values(), the question name."""
    found: dict[str, set[str]] = {}
    for name, matchers in re.findall(r"\b(featherlb_\w+|up)\b(?:\{([^}]*)\})?", expression):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    return found


@pytest.fixture(scope="module")
def given(two_armed):
    """What a daemon says: {metric: labels}, and the words of some of them."""
    network = two_armed.network
    config = configuration(network, [service("web", [f"{service_address(4)}:80/tcp"], network.backends, 4, HTTP_PORT) |
                                     {"health": {"type": "tcp"}, "measure": "first-byte"}]) | {"metrics": {"listen": f"127.0.0.1:{PORT}"}}
    with Featherlb(network, config, name="dashboard"), network.balancer.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(15)
        sock.connect(("127.0.0.1", PORT))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while part := sock.recv(65536):
            text += part
    metrics: dict[str, set[str]] = {"up": set()}
    for line in text.decode().partition("\r\n\r\n")[2].splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:{(.*)})? ", line).groups()
            metrics.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return metrics


def test_every_panel_says_what_it_shows():
    titles = [panel["title"] for panel in panels()]
    assert len(titles) > 15 and len(set(titles)) == len(titles) and all(titles)
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    for panel in panels():
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert all(target["expr"] for target in panel["targets"]) and panel["targets"], panel["title"]
        for target in panel["targets"]:
            seconds = re.search(r"_seconds(?!_count|_bucket)\b|_seconds_sum", target["expr"]) or "histogram_quantile" in target["expr"]
            assert (panel["fieldConfig"]["defaults"]["unit"] == "s") == bool(seconds), panel["title"]


def test_it_asks_for_what_there_is(given):
    asked = set()
    for title, expression in expressions():
        found = selectors(expression)
        assert found, f"{title}: {expression}"
        for metric, labels in found.items():
            assert metric in given, f"{title}: no {metric}"
            assert labels <= given[metric] | SCRAPED, f"{title}: {metric} has {given[metric]}, not {labels}"
            asked.add(metric)
        grouped = {label.strip() for group in re.findall(r"\b(?:by|without|on)\s*\(([^)]*)\)", expression) for label in group.split(",")}
        assert all(grouped <= given[metric] | SCRAPED for metric in found), f"{title}: {expression}"
    assert len(asked) > 15
    for panel in panels():
        for target in panel["targets"]:
            shown, there = set(re.findall(r"{{(\w+)}}", target["legendFormat"])), selectors(target["expr"])
            assert all(shown <= given[metric] | SCRAPED for metric in there), f"{panel['title']}: {target['legendFormat']}"


def test_it_is_in_prometheus_language(tmp_path):
    """promtool reads every expression, with what Grafana would put in for its variables."""
    rules = [{"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$service", ".*")}
             for number, (_, expression) in enumerate(expressions()) if not expression.startswith("label_values")]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run(["promtool", "check", "rules", str(file)], check=False)
    assert done.returncode == 0 and f"{len(rules)} rules found" in done.stdout, done.stdout
