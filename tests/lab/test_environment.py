# SPDX-License-Identifier: Apache-2.0
"""Machines that lack something or where somebody else was first: a clear message, or the documented fallback."""
import subprocess
from pathlib import Path

import pytest
from labkit import clients, config, tools
from labkit.balancer import EXIT_FAILED, Featherlb
from labkit.topology import service_address

VIP = service_address(4)
PROGRAMS = Path(__file__).parent / "programs"
pytestmark = pytest.mark.no_standin


def run_that_fails(network, *wrapper: str, attach: str = "auto", pins: Path | None = None) -> str:
    """What `featherlb run`, started through `wrapper`, says before it gives up."""
    running = Featherlb(network, config.everything(network, attach), ephemeral=pins is None)
    config.write(running.file, running.config)
    if pins is not None:
        running.pins = pins
    try:
        done = network.balancer.run([*wrapper, *running.arguments()], check=False, timeout=15)
    except subprocess.TimeoutExpired as error:
        raise AssertionError("it did not give up") from error
    assert done.returncode == EXIT_FAILED, done.stdout
    assert "terminate called" not in done.stdout and "Segmentation" not in done.stdout
    return done.stdout


@pytest.mark.parametrize("capabilities", ("all", "bpf,-sys_admin", "net_admin"))
def test_without_capabilities_it_names_what_is_missing(two_armed, capabilities):
    text = run_that_fails(two_armed.network, "setpriv", f"--bounding-set=-{capabilities}", "--inh-caps=-all")
    assert "CAP_" in text, text
    if capabilities == "net_admin":
        assert "CAP_NET_ADMIN" in text, text


def test_without_a_bpf_file_system_it_says_how_to_mount_one(two_armed):
    directory = two_armed.lab.directory / "not-bpffs"
    directory.mkdir()
    text = run_that_fails(two_armed.network, pins=directory / "featherlb")
    assert str(directory) in text and "mount -t bpf" in text, text


@pytest.fixture
def occupied(two_armed):
    """The interface `front` runs somebody else's XDP program."""

    def occupy(mode: str):
        program = tools.load_bpf(PROGRAMS / "pass.bpf.c", two_armed.lab, "xdp")
        two_armed.network.balancer.run(["bpftool", "net", "attach", mode, "pinned", str(program), "dev", "front"])

    yield occupy
    for mode in ("xdpdrv", "xdpgeneric"):
        two_armed.network.balancer.run(["ip", "link", "set", "dev", "front", mode, "off"], check=False)


@pytest.mark.parametrize("attach,mode", (("xdp", "xdpdrv"), ("xdp-generic", "xdpgeneric")))
def test_an_interface_with_another_xdp_program_is_refused_by_name(two_armed, occupied, attach, mode):
    occupied(mode)
    text = run_that_fails(two_armed.network, attach=attach)
    assert "front has an XDP program that is not ours" in text and "someone_elses" in text, text


def test_the_other_xdp_program_stays_when_tc_is_used(two_armed, occupied, make_balancer):
    occupied("xdpgeneric")
    with make_balancer(two_armed.network, config.everything(two_armed.network, "tc")):
        assert clients.http_get(two_armed.network.client.ns, (VIP, 80)) in {"b1", "b2", "b3"}
        assert "xdp" in two_armed.network.balancer.run(["ip", "link", "show", "front"]).stdout


@pytest.mark.parametrize("environment", ({}, {"FEATHERLB_NO_TCX": "1"}), ids=("tcx", "clsact"))
def test_another_tc_program_still_sees_what_is_not_ours(two_armed, environment):
    """Somebody else's clsact filter drops ping: it still does while featherlb runs, and featherlb still works."""
    network = two_armed.network
    program = tools.load_bpf(PROGRAMS / "no_ping.bpf.c", two_armed.lab, "classifier")
    network.balancer.run(["tc", "qdisc", "add", "dev", "front", "clsact"])
    try:
        network.balancer.run(["tc", "filter", "add", "dev", "front", "ingress", "prio", "60000", "bpf", "da",
                              "pinned", str(program)])
        with Featherlb(network, config.everything(network, "tc"), environment=environment):
            assert network.client.ns.run(["ping", "-c", "1", "-W", "1", "10.1.0.1"], check=False).returncode == 1
            assert clients.http_get(network.client.ns, (VIP, 80)) in {"b1", "b2", "b3"}
        left = network.balancer.run(["tc", "filter", "show", "dev", "front", "ingress"]).stdout
        assert "no_ping" in left, "the other's filter stays"
        assert network.client.ns.run(["ping", "-c", "1", "-W", "1", "10.1.0.1"], check=False).returncode == 1
    finally:
        network.balancer.run(["tc", "qdisc", "del", "dev", "front", "clsact"], check=False)
    assert network.client.ns.run(["ping", "-c", "1", "-W", "1", "10.1.0.1"], check=False).returncode == 0


@pytest.mark.parametrize("forward", ("snat", "dnat"))
def test_without_tcx_clsact_is_used_and_said(two_armed, forward):
    """A kernel before 6.6, played by FEATHERLB_NO_TCX=1 (tests/kernel runs a real one)."""
    network = two_armed.network
    with Featherlb(network, config.everything(network, "tc"), environment={"FEATHERLB_NO_TCX": "1"}) as running:
        assert "clsact" in running.log()
        for family in (4, 6):
            for _ in range(25):
                clients.http_get(network.client.ns, (service_address(family, forward), 80))
                with clients.udp_socket(network.client.ns, (service_address(family, forward), 53)) as sock:
                    clients.dns_query(sock)
    assert "flb" not in network.balancer.run(["tc", "filter", "show", "dev", "front", "ingress"], check=False).stdout


def test_clsact_outlives_the_daemon_too(two_armed):
    network = two_armed.network
    with Featherlb(network, config.everything(network, "tc"), ephemeral=False,
                   environment={"FEATHERLB_NO_TCX": "1"}) as running:
        with clients.connect(network.client.ns, (VIP, 7)) as sock:
            for _ in range(2):
                running.kill()
                clients.echo_every_length(sock, range(1, 50), stream=True)
                running.start()
                clients.echo_every_length(sock, range(1, 50), stream=True)


def test_auto_takes_tc_on_veth_and_says_why(two_armed):
    network = two_armed.network
    with Featherlb(network, config.everything(network, "auto")) as running:
        for name in network.interfaces:
            lines = [line for line in running.log().splitlines() if name in line and "tc" in line and "veth" in line]
            assert lines, running.log()


def test_a_second_daemon_on_the_same_pins_is_refused(two_armed):
    network = two_armed.network
    with Featherlb(network, config.everything(network, "auto"), ephemeral=False) as running:
        done = network.balancer.run([*running.arguments()], check=False, timeout=15)
        assert done.returncode == EXIT_FAILED, done.stdout
        assert "another featherlb" in done.stdout, done.stdout
        assert running.alive()
        assert clients.http_get(network.client.ns, (VIP, 80)) in {"b1", "b2", "b3"}


def test_an_interface_that_goes_and_comes_back_is_attached_again(make_balancer):
    from labkit.lab import wait_for

    from conftest import Place

    place = Place("two-armed", http=True, dns=False, echo=False)
    try:
        network, lab = place.network, place.lab
        with make_balancer(network, config.everything(network, "auto")):
            clients.http_get(network.client.ns, (VIP, 80))
            network.balancer.ip("link del front")
            lab.veth(network.client.ns, "eth0", network.balancer, "front")
            network.balancer.ip("""
                addr add 10.1.0.1/24 dev front
                addr add fd00:1::1/64 dev front nodad
                route add 10.100.0.0/16 via 10.1.0.2
                route add fd00:100::/64 via fd00:1::2
            """)
            network.client.ns.ip("addr add 10.1.0.2/24 dev eth0\nroute add default via 10.1.0.1")

            def answered():
                try:
                    return clients.http_get(network.client.ns, (VIP, 80), timeout=0.5)
                except OSError:
                    return None

            assert wait_for("the interface to work again", answered, 10) in {"b1", "b2", "b3"}
    finally:
        place.lab.close()
