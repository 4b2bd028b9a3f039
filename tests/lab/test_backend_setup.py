# SPDX-License-Identifier: Apache-2.0
"""`featherlb backend-setup` prints commands that work when they are pasted into a shell of the backend."""
import contextlib
import json
import os

import pytest
from conftest import Place
from labkit import clients, config, tools
from labkit.backends import HTTP_PORT
from labkit.balancer import EXIT_INVALID, EXIT_USAGE, Featherlb
from labkit.lab import Lab, wait_for
from test_decap import SERVICE, TC_CROSSES, Pair, get_id

pytestmark = pytest.mark.no_standin


def printed(ns, file, name: str, *options: str) -> str:
    return ns.run([tools.featherlb(), "backend-setup", name, "-c", str(file), *options]).stdout


def paste(ns, text: str) -> None:
    """Into a shell that stops at the first command that fails."""
    ns.run(["sh", "-eu"], input=text)


# ---- dnat ----


@pytest.fixture(scope="module")
def place():
    place = Place("two-armed", backends=2, dns=False, echo=False)
    yield place
    place.lab.close()


def test_dnat_works_as_pasted(place):
    network = place.network
    services = [config.service(f"web-{family}", [config.endpoint("10.9.0.2" if family == 4 else "fd00:9::2", 80) +
                                                 "/tcp"], network.backends, family, HTTP_PORT, "dnat")
                for family in (4, 6)]
    for host in network.backends:
        for version in ("-4", "-6"):
            host.ns.run(["ip", version, "route", "del", "default"])
    with Featherlb(network, config.configuration(network, services)) as running:
        for family, vip in ((4, "10.9.0.2"), (6, "fd00:9::2")):
            with pytest.raises(OSError):
                clients.http_get(network.client.ns, (vip, 80), timeout=0.5)
            for host in network.backends:
                paste(host.ns, printed(network.balancer, running.file, f"web-{family}", "--backend", host.name))
            assert {clients.http_get(network.client.ns, (vip, 80)) for _ in range(4)} == {"b1", "b2"}


def test_snat_needs_nothing_and_mistakes_are_told(place):
    network = place.network
    file = place.lab.directory / "setup.yaml"
    config.write(file, config.configuration(network, [
        config.service("web", ["10.9.0.1:80/tcp"], network.backends, 4, HTTP_PORT)]))
    text = printed(network.balancer, file, "web")
    assert "nothing to do" in text and all(line.startswith("#") or not line for line in text.splitlines())
    command = [tools.featherlb(), "backend-setup", "wbe", "-c", str(file)]
    done = network.balancer.run(command, check=False)
    assert done.returncode == EXIT_USAGE and 'did you mean "web"?' in done.stdout
    file.write_text("services: 1\n")
    assert network.balancer.run(command, check=False).returncode == EXIT_INVALID


# ---- dsr and ipip: the client puts the packets on the cable as the balancer would ----


@pytest.fixture
def pair():
    """A backend as it is before anything was done: without the service addresses."""
    with Lab() as lab:
        pair = Pair(lab)
        for address in ("10.9.0.1/32", "10.9.0.2/32", "fd00:9::1/128", "fd00:9::2/128"):
            pair.backend.ns.run(["ip", "addr", "del", address, "dev", "lo"])
        pair.backend.ns.ip("route add default via 10.2.0.2\nroute add default via fd00:2::2")
        yield pair


def configure(pair, forward: str):
    file = pair.lab.directory / "web.yaml"
    backends = [{"name": f"b{family}", "address": config.endpoint(pair.backend.address(family), HTTP_PORT)}
                for family in (4, 6)]
    listen = [config.endpoint(SERVICE[family], HTTP_PORT) + "/tcp" for family in (4, 6)]
    config.write(file, {"services": [{"name": "web", "listen": listen, "forward": forward, "algorithm": "round-robin",
                                      "backends": backends}]})
    return file


def test_dsr_works_as_pasted_and_the_backend_is_silent_about_the_address(pair):
    file = configure(pair, "dsr")
    for family in (4, 6):
        with pytest.raises(OSError):
            get_id(pair, SERVICE[family], timeout=0.5)
    for _ in range(2):  # again does no harm
        paste(pair.backend.ns, printed(pair.client.ns, file, "web"))
    assert [get_id(pair, SERVICE[family]) for family in (4, 6)] == ["b1", "b1"]

    pair.client.ns.ip(f"route add {SERVICE[4]}/32 dev eth0")
    with pytest.raises(OSError):
        get_id(pair, SERVICE[4], timeout=2)
    assert "FAILED" in pair.client.ns.run(["ip", "neigh", "show", SERVICE[4]]).stdout or \
        "INCOMPLETE" in pair.client.ns.run(["ip", "neigh", "show", SERVICE[4]]).stdout


@contextlib.contextmanager
def in_background(pair, commands: list[str]):
    """All but the last are done at once; the last one stays."""
    paste(pair.backend.ns, "\n".join(commands[:-1]) + "\n")
    log = pair.lab.directory / "last.log"
    log.write_text("")
    assert commands[-1].startswith("featherlb decap ")
    last = commands[-1].replace("featherlb", tools.featherlb(), 1)  # it need not be installed here
    process = pair.lab.start(pair.backend.ns, ["sh", "-euc", "exec " + last], log=log.name)
    wait_for("decap", lambda: "service addresses: " in log.read_text())
    yield
    pair.lab.stop(process)


@pytest.mark.parametrize("outer", (4, 6), ids=("in-ipv4", "in-ipv6"))
def test_ipip_works_as_pasted_with_decap(pair, outer):
    file = configure(pair, "ipip")
    pair.tunnel(outer)
    shown = json.loads(printed(pair.client.ns, file, "web", "--backend", f"b{outer}", "--json"))["backends"]
    with in_background(pair, shown[0]["commands_with_decap"]):
        for family in (4, 6) if TC_CROSSES else (outer,):
            assert get_id(pair, SERVICE[family]) == "b1"


def missing_device() -> str:
    """Debian's kernel has them all; not every kernel does."""
    with Lab() as lab:
        ns = lab.namespace("probe")
        for kind, local, remote in (("ipip", "10.0.0.1", "any"), ("sit", "10.0.0.1", "any"), ("ip6tnl", "fd00::1", "::")):
            words = ["ip", "link", "add", "probe", "type", kind, "local", local, "remote", remote]
            if ns.run(words, check=False).returncode:
                return kind
            ns.run(["ip", "link", "del", "probe"])
    return ""


@pytest.fixture(scope="module")
def tunnel_devices():
    if missing := missing_device():
        assert not os.environ.get("FEATHERLB_GUEST"), f"no {missing} in the guest"
        pytest.skip(f"NOT TESTED HERE: this kernel has no {missing}; scripts/test-kernel has")


@pytest.mark.parametrize("outer", (4, 6))
@pytest.mark.usefixtures("tunnel_devices")
def test_ipip_works_as_pasted_with_the_kernels_devices(pair, outer):
    file = configure(pair, "ipip")
    pair.tunnel(outer)
    for _ in range(2):
        paste(pair.backend.ns, printed(pair.client.ns, file, "web", "--backend", f"b{outer}"))
    assert [get_id(pair, SERVICE[family], timeout=10) for family in (4, 6)] == ["b1", "b1"]
    header = {4: 20, 6: 40}
    for family in (4, 6):
        route = pair.backend.ns.run(["ip", f"-{family}", "route", "show", "default"]).stdout
        assert f"advmss {1500 - header[outer] - header[family] - 20}" in route
