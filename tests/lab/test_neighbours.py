# SPDX-License-Identifier: Apache-2.0
"""Whose a neighbour is, what happens with many of them, and with VLAN devices (see network_probe.py)."""
import os

from labkit.lab import Lab
from labkit.netns import run
from network_probe import Probe, net  # noqa: F401


# ---- who owns a neighbour ----


def test_a_permanent_neighbour_is_used_and_never_touched(net):
    net.lb.ip("neigh add 10.1.0.2 lladdr 02:00:00:00:00:99 dev lb0 nud permanent")
    assert net.probe("hop", "10.1.0.2")["mac"] == "02:00:00:00:00:99"
    net.probe("maintain")
    net.probe("release")
    words = net.neighbour("10.1.0.2")
    assert "PERMANENT" in words and "managed" not in words


def test_a_neighbour_that_the_operator_fixes_while_we_have_not_looked_stays_fixed(net):
    net.probe("hop", "10.2.0.2")  # the table is read; its events are not
    net.lb.ip("neigh replace 10.1.0.2 lladdr 02:00:00:00:00:99 dev lb0 nud permanent")
    assert net.probe("hop", "10.1.0.2")["mac"] == "02:00:00:00:00:99"
    assert "PERMANENT" in net.neighbour("10.1.0.2")
    net.probe.resolved("10.2.0.2")
    net.lb.ip("neigh replace 10.2.0.2 lladdr 02:00:00:00:00:98 dev lb1 nud permanent")
    assert net.probe.hop_when("10.2.0.2", lambda hop: hop["mac"] == "02:00:00:00:00:98")
    net.probe("retain")
    assert "PERMANENT" in net.neighbour("10.2.0.2")


def test_a_dynamic_neighbour_that_is_there_becomes_managed_and_keeps_its_mac(net):
    net.lb.run(["ping", "-c1", "-W2", "10.1.0.2"])
    assert net.probe("hop", "10.1.0.2")["mac"] == net.mac(net.east)
    assert "managed" in net.neighbour("10.1.0.2")


def test_a_deleted_neighbour_is_put_back(net):
    net.probe.resolved("10.1.0.2")
    net.lb.ip("neigh del 10.1.0.2 dev lb0")
    net.probe.settle()
    assert net.probe.resolved("10.1.0.2") and "managed" in net.neighbour("10.1.0.2")


def test_retain_lets_go_of_what_is_no_longer_wanted(net):
    for destination in ("10.1.0.2", "10.2.0.2", "fd01::2"):
        net.probe.resolved(destination)
    net.probe("retain", "10.2.0.2")
    assert net.neighbour("10.1.0.2") == [] and net.neighbour("fd01::2") == []
    assert "managed" in net.neighbour("10.2.0.2")
    net.probe("wait", 100)
    net.probe("maintain")
    assert net.neighbour("10.1.0.2") == []


def test_the_next_daemon_finds_what_the_last_one_kept(net):
    net.probe.resolved("10.1.0.2")
    net.probe.resolved("10.2.0.2")
    net.lab.stop(net.probe.process, 9)
    again = Probe(net.lab, net.lb)
    assert again("hop", "10.1.0.2")["mac"] == net.mac(net.east)
    again("retain", "10.1.0.2")
    assert "managed" in net.neighbour("10.1.0.2") and net.neighbour("10.2.0.2") == []
    again("release")
    assert net.neighbour("10.1.0.2") == []


def test_neighbours_of_others_that_are_managed_stay(net):
    net.lb.ip("neigh add 10.1.0.2 dev lb0 managed")
    net.probe.resolved("10.1.0.2")
    net.probe("release")
    assert "managed" in net.neighbour("10.1.0.2")


def test_without_the_capability_what_the_kernel_knows_is_still_answered(net):
    net.lb.run(["ping", "-c1", "-W2", "10.1.0.2"])
    weak = Probe(net.lab, net.lb, ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    known = weak("hop", "10.1.0.2")
    assert known["mac"] == net.mac(net.east) and "CAP_NET_ADMIN" in known["problem"]["remedy"]
    assert "CAP_NET_ADMIN" in weak("hop", "10.2.0.2")["problem"]["remedy"]


# ---- many ----


def test_lost_events_mean_that_everything_changed(net):
    net.probe.resolved("10.1.0.2")
    net.probe.settle()
    # Permanent ones, because all namespaces share the limit for the others.
    batches = ["\n".join(f"neigh replace 10.2.1.{i + 1} lladdr 02:00:00:00:00:0{mac} dev lb1 nud permanent"
                         for i in range(250) for mac in (1, 2)) for _ in range(4)]
    for _ in range(100):
        net.lb.ip("\n".join(batches))
        if _an_event_was_dropped(net):
            break
    changes = net.probe("wait", 1000)
    assert all(changes.values()), changes
    assert net.probe("hop", "10.1.0.2")["mac"] == net.mac(net.east)


def _an_event_was_dropped(net):
    """By the kernel, on one of the probe's sockets: the last but one column."""
    lines = net.lb.read("/proc/thread-self/net/netlink").splitlines()[1:]
    return any(int(line.split()[8]) > 0 for line in lines)


def test_thousands_of_backends_are_quick(net, record_property):
    net.lb.ip("route add 10.9.0.0/16 via 10.1.0.2")
    net.probe.resolved("10.9.0.1")
    destinations = [f"10.9.{i // 250}.{i % 250 + 1}" for i in range(3000)]
    first, again = net.probe("time", *destinations)
    record_property("microseconds for 3000 routes, first and again", f"{first} {again}")
    print(f"3000 routes: {first} us, again {again} us")
    assert first < 1_000_000 and again < 50_000


def test_thousands_of_neighbours_are_kept(net):
    net.lb.ip("addr add 10.3.0.1/16 dev lb0")
    net.east.ip("route add local 10.3.0.0/16 dev lo\nroute add 10.3.0.1 dev eth0 scope link")
    destinations = [f"10.3.{i // 250}.{i % 250 + 1}" for i in range(300, 600)]
    first, again = net.probe("time", *destinations)
    print(f"300 new neighbours: {first} us, again {again} us")
    assert first < 1_000_000
    for destination in destinations:
        assert net.probe.resolved(destination)["mac"] == net.mac(net.east)


# ---- VLAN devices, where this kernel has them (Linux 6.1 of scripts/test-kernel does) ----


def _kernel_has_vlans():
    if os.geteuid() != 0:
        return False
    with Lab() as lab:
        ns = lab.namespace("vlan")
        ns.ip("link add br0 type bridge")
        made = run(["ip", "-n", ns.name, "link", "add", "link", "br0", "name", "v", "type", "vlan", "id", "1"], check=False)
        return made.returncode == 0


if _kernel_has_vlans():
    def test_a_route_over_vlan_devices_becomes_the_parents_interface_and_tags(net):
        for ns, device in ((net.lb, "lb0"), (net.east, "eth0")):
            host = 1 if ns is net.lb else 2
            ns.ip(f"""link add link {device} name v10 type vlan id 10
                      link set v10 up
                      link add link {device} name v30 type vlan proto 802.1ad id 30
                      link set v30 up
                      link add link v30 name v40 mtu 1400 type vlan id 40
                      link set v40 up
                      addr add 10.10.0.{host}/24 dev v10
                      addr add 10.40.0.{host}/24 dev v40""")
        one = net.probe.resolved("10.10.0.2")
        assert (one["mac"], one["slot"], one["ifindex"]) == (net.mac(net.east), net.index("lb0"), net.index("lb0"))
        assert (one["device"], one["tags"], one["vlan"], one["outer_ad"]) == ("v10", 1, [10, 0], False)
        two = net.probe.resolved("10.40.0.2")
        assert (two["slot"], two["tags"], two["vlan"], two["outer_ad"]) == (net.index("lb0"), 2, [30, 40], True)
        assert two["mtu"] == 1400
        assert net.probe.interface("v40")["vlan"] == {"parent": net.index("v30"), "id": 40, "ad": False}
        assert "managed" in net.neighbour("10.40.0.2")
