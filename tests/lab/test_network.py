# SPDX-License-Identifier: Apache-2.0
"""What the daemon knows of the network: interfaces, addresses, and the way to a destination (see network_probe.py)."""
import json
import time

import pytest
from labkit.netns import run
from network_probe import ZERO, net, reason  # noqa: F401


# ---- interfaces and addresses ----


def test_interfaces_tell_what_they_are(net):
    net.lb.ip("""link add br0 type bridge
                 link add link lb1 name mv0 type macvlan mode bridge
                 link set lb0 mtu 1400""")
    net.lb.offload("lb1", tx=False)
    lo, lb0, lb1, br0, mv0 = (net.probe.interface(name) for name in ("lo", "lb0", "lb1", "br0", "mv0"))
    assert lo["loopback"] and not lo["ethernet"]
    assert (lb0["kind"], lb0["driver"], lb0["mtu"], lb0["up"], lb0["carrier"]) == ("veth", "veth", 1400, True, True)
    assert lb0["mac"] == net.mac(net.lb, "lb0") and lb0["index"] == net.index("lb0") and lb0["ethernet"]
    assert lb0["tx_checksum_offload"] and not lb1["tx_checksum_offload"]
    assert lb0["tx_queues"] >= 1 and lb0["rx_queues"] >= 1
    assert (br0["kind"], br0["up"], br0["carrier"]) == ("bridge", False, False)
    assert mv0["kind"] == "macvlan" and mv0["vlan"] is None


def test_a_changed_offload_is_an_event(net):
    assert net.probe.interface("lb0")["tx_checksum_offload"]
    net.probe.settle()
    net.lb.offload("lb0", tx=False)
    assert net.probe("wait", 2000)["links"]
    assert not net.probe.interface("lb0")["tx_checksum_offload"]


def test_a_new_interface_and_one_that_goes_are_events(net):
    net.probe("interfaces")
    net.probe.settle()
    net.lb.ip("link add br0 type bridge")
    assert net.probe("wait", 2000)["links"]
    assert net.probe.interface("br0")
    net.probe.settle()
    net.lb.ip("link del br0")
    assert net.probe("wait", 2000)["links"]
    assert net.probe.interface("br0") is None


def test_a_port_that_leaves_its_bridge_stays_an_interface(net):
    net.lb.ip("""link add br0 type bridge
                 link set lb1 master br0""")
    assert net.probe.interface("lb1")["master"] == net.index("br0")
    net.lb.ip("link set lb1 nomaster")
    net.probe.settle()
    assert net.probe.interface("lb1")["master"] == 0


def test_addresses_of_both_families_with_link_local_flagged(net):
    index = net.index("lb0")
    mine = {a["address"]: a for a in net.probe("addresses") if a["ifindex"] == index}
    assert {"10.1.0.1", "fd01::1"} < set(mine)
    assert mine["10.1.0.1"]["prefix_length"] == 24 and not mine["10.1.0.1"]["link_local"]
    assert [a for a in mine if mine[a]["link_local"]] == [a for a in mine if a.startswith("fe80::")] != []


def test_an_address_that_comes_and_goes_is_an_event(net):
    net.probe("addresses")
    net.probe.settle()
    net.lb.ip("addr add 10.1.0.77/24 dev lb0")
    assert net.probe("wait", 2000)["addresses"]
    assert "10.1.0.77" in [a["address"] for a in net.probe("addresses")]
    net.probe.settle()
    net.lb.ip("addr del 10.1.0.77/24 dev lb0")
    assert net.probe("wait", 2000)["addresses"]
    assert "10.1.0.77" not in [a["address"] for a in net.probe("addresses")]


def test_a_tentative_address_appears_when_it_is_proven_and_a_deprecated_one_is_flagged(net):
    net.lb.sysctl("net.ipv6.conf.all.accept_dad", 1)
    net.lb.sysctl("net.ipv6.conf.lb0.accept_dad", 1)
    net.probe("addresses")
    net.probe.settle()
    net.lb.ip("addr add fd01::77/64 dev lb0 preferred_lft 0")
    addresses = {a["address"]: a for a in net.probe("addresses")}
    assert "fd01::77" not in addresses
    end = time.monotonic() + 10
    while "fd01::77" not in addresses:
        assert time.monotonic() < end
        if net.probe("wait", 5000)["addresses"]:
            addresses = {a["address"]: a for a in net.probe("addresses")}
    assert addresses["fd01::77"]["deprecated"] and not addresses["fd01::1"]["deprecated"]


def test_refreshed_lifetimes_are_no_news(net):
    net.lb.ip("addr add fd01::88/64 dev lb0 nodad valid_lft 1000 preferred_lft 900")
    net.probe("addresses")
    net.probe.settle()
    net.lb.ip("addr change fd01::88/64 dev lb0 nodad valid_lft 2000 preferred_lft 1900")
    assert not net.probe("wait", 500)["addresses"]


# ---- next hops ----


@pytest.mark.parametrize("destination, source", [("10.1.0.2", "10.1.0.1"), ("fd01::2", "fd01::1")])
def test_a_neighbour_on_the_link_is_resolved_without_traffic_and_kept(net, destination, source):
    hop = net.probe.resolved(destination)
    assert hop["mac"] == net.mac(net.east)
    assert (hop["slot"], hop["tags"], hop["vlan"]) == (net.index("lb0") % 4096, 0, [0, 0])
    assert (hop["mtu"], hop["source"], hop["device"], hop["neighbour"]) == (1500, source, "lb0", destination)
    assert hop["ifindex"] == net.index("lb0") and hop["problem"] is None
    assert "managed" in net.neighbour(destination)


@pytest.mark.parametrize("destination, gateway", [("10.9.0.5", "10.1.0.2"), ("fd09::5", "fd01::2")])
def test_a_route_by_a_gateway_takes_the_gateways_mac_and_the_routes_mtu_and_source(net, destination, gateway):
    net.lb.ip(f"""addr add 10.1.0.50/24 dev lb0
                  addr add fd01::50/64 dev lb0 nodad""")
    source = gateway[:-1] + "50"
    net.lb.ip(f"route add {destination} via {gateway} src {source} mtu 1380")
    hop = net.probe.resolved(destination)
    assert (hop["mac"], hop["neighbour"]) == (net.mac(net.east), gateway)
    assert (hop["mtu"], hop["source"]) == (1380, source)
    assert net.neighbour(destination) == []


def test_a_link_local_gateway(net):
    net.probe.settle()
    shown = json.loads(run(["ip", "-n", net.east.name, "-j", "-6", "addr", "show", "eth0", "scope", "link"]).stdout)
    gateway = next(a["local"] for a in shown[0]["addr_info"] if "local" in a)
    net.lb.ip(f"route add fd09::/64 via {gateway} dev lb0")
    hop = net.probe.resolved("fd09::1")
    assert (hop["mac"], hop["neighbour"], hop["source"]) == (net.mac(net.east), gateway, "fd01::1")


def test_an_ipv4_route_by_an_ipv6_gateway(net):
    net.lb.ip("route add 10.9.0.0/24 via inet6 fd01::2 dev lb0")
    hop = net.probe.resolved("10.9.0.1")
    assert (hop["mac"], hop["neighbour"], hop["source"]) == (net.mac(net.east), "fd01::2", "10.1.0.1")


def test_a_neighbour_that_appears_late_is_told_by_an_event(net):
    first = net.probe("hop", "10.1.0.9")
    assert "not answered" in reason(first)
    assert (first["mtu"], first["source"]) == (1500, "10.1.0.1")
    net.fails("10.1.0.9")
    net.probe("wait", 0)
    assert "does not answer ARP" in reason(net.probe("hop", "10.1.0.9"))
    net.east.ip("addr add 10.1.0.9/24 dev eth0")
    assert net.probe.resolved("10.1.0.9")["mac"] == net.mac(net.east)


@pytest.mark.parametrize("destination", ["10.1.0.2", "fd01::2"])
def test_a_changed_mac_is_followed(net, destination):
    net.probe.resolved(destination)
    net.lb.sysctl("net.ipv4.neigh.lb0.locktime", 0)
    net.east.ip("link set eth0 address 02:00:00:00:77:01")
    assert net.probe.hop_when(destination, lambda hop: hop["mac"] == "02:00:00:00:77:01")


def test_a_backend_that_was_replaced_without_a_word_is_found_by_the_kernels_probes(net):
    for key in ("base_reachable_time_ms", "retrans_time_ms"):
        net.lb.sysctl(f"net.ipv4.neigh.lb0.{key}", 500)
    net.lb.sysctl("net.ipv4.neigh.lb0.delay_first_probe_time", 1)
    net.probe.resolved("10.1.0.2")
    net.east.sysctl("net.ipv4.conf.eth0.arp_notify", 0)
    net.east.sysctl("net.ipv6.conf.eth0.ndisc_notify", 0)
    net.east.ip("link set eth0 address 02:00:00:00:77:02")
    assert net.probe.hop_when("10.1.0.2", lambda hop: hop["mac"] == "02:00:00:00:77:02", timeout=20)


@pytest.mark.parametrize("which", ["own end down", "other end down"])
@pytest.mark.parametrize("destination", ["10.1.0.2", "fd01::2"])
def test_a_link_that_flaps_is_resolved_again(net, destination, which):
    ns, device = (net.lb, "lb0") if which == "own end down" else (net.east, "eth0")
    net.lb.sysctl("net.ipv6.conf.lb0.keep_addr_on_down", 1)
    net.east.sysctl("net.ipv6.conf.eth0.keep_addr_on_down", 1)
    net.probe.resolved(destination)
    ns.ip(f"link set {device} down")
    # Neighbours and links are told of one after the other, so another reason may come first.
    assert net.probe.hop_when(destination, lambda hop: hop["mac"] == ZERO and any(
        words in reason(hop) for words in ("no carrier", "no route")))
    ns.ip(f"link set {device} up")
    hop = net.probe.resolved(destination, timeout=5)
    assert hop["mac"] == net.mac(net.east)
    assert "managed" in net.neighbour(destination)


def test_a_flap_between_two_looks_puts_the_neighbour_back(net):
    net.probe.resolved("10.1.0.2")
    net.lb.ip("link set lb0 down\nlink set lb0 up")
    net.probe("wait", 1000)
    assert net.probe.resolved("10.1.0.2")
    assert "managed" in net.neighbour("10.1.0.2")


def test_a_link_that_comes_back_late_does_not_wait_for_the_kernels_next_try(net):
    net.east.sysctl("net.ipv4.conf.eth0.arp_notify", 0)
    net.probe.resolved("10.1.0.2")
    net.east.ip("link set eth0 down")
    net.probe.hop_when("10.1.0.2", lambda hop: "no carrier" in (hop["problem"] or {}).get("message", ""))
    net.fails("10.1.0.2")
    net.probe.settle()
    net.east.ip("link set eth0 up")
    assert net.probe.resolved("10.1.0.2", timeout=1.5)  # the kernel's own try comes within five seconds


def test_a_changed_route_changes_the_way(net):
    net.lb.ip("route add 10.9.0.0/24 via 10.1.0.2")
    assert net.probe.resolved("10.9.0.1")["mac"] == net.mac(net.east)
    net.probe.settle()
    net.lb.ip("route replace 10.9.0.0/24 via 10.2.0.2")
    assert net.probe("wait", 2000)["routes"]
    hop = net.probe.resolved("10.9.0.1")
    assert (hop["mac"], hop["device"], hop["source"]) == (net.mac(net.west), "lb1", "10.2.0.1")
    net.lb.ip("route del 10.9.0.0/24")
    assert "no route" in reason(net.probe.hop_when("10.9.0.1", lambda hop: hop["mac"] == ZERO))


def test_a_removed_address_changes_the_source(net):
    net.lb.ip("addr add 10.1.0.60/24 dev lb0")
    assert net.probe.resolved("10.1.0.2")["source"] == "10.1.0.1"
    net.lb.sysctl("net.ipv4.conf.lb0.promote_secondaries", 1)
    net.lb.ip("addr del 10.1.0.1/24 dev lb0")
    assert net.probe.hop_when("10.1.0.2", lambda hop: hop["source"] == "10.1.0.60")["mac"] == net.mac(net.east)


def test_a_smaller_device_mtu_is_followed(net):
    assert net.probe.resolved("10.1.0.2")["mtu"] == 1500
    net.lb.ip("link set lb0 mtu 1300")
    assert net.probe.hop_when("10.1.0.2", lambda hop: hop["mtu"] == 1300)


def test_a_learned_path_mtu_is_told_by_maintain(net):
    """East routes to 10.9.0.0/24 by a link of 1300 bytes and says so to a large packet."""
    far = net.lab.namespace("far")
    net.lab.veth(net.east, "eth1", far, "eth0")
    net.east.sysctl("net.ipv4.ip_forward", 1)
    net.east.ip("addr add 10.9.0.1/24 dev eth1\nlink set eth1 mtu 1300")
    far.ip("addr add 10.9.0.2/24 dev eth0\nroute add default via 10.9.0.1")
    net.lb.ip("route add 10.9.0.0/24 via 10.1.0.2")
    assert net.probe.resolved("10.9.0.2")["mtu"] == 1500
    net.lb.run(["ping", "-c1", "-W1", "-M", "do", "-s", "1400", "10.9.0.2"], check=False)
    # Links, addresses and routes did not change, so the cached answer stands until something asks again.
    net.lb.ip("route add 10.200.0.0/24 via 10.1.0.2")
    assert net.probe.hop_when("10.9.0.2", lambda hop: hop["mtu"] == 1300)
    net.lb.ip("route flush cache")
    net.probe.settle()
    net.probe("maintain")
    assert net.probe("hop", "10.9.0.2")["mtu"] == 1500


@pytest.mark.parametrize("setup, destination, words", [
    ("", "10.99.0.1", "no route"),
    ("", "fd99::1", "no route"),
    ("route add unreachable 10.99.0.0/24", "10.99.0.1", "says unreachable"),
    ("route add unreachable fd99::/64", "fd99::1", "says unreachable"),
    ("route add blackhole 10.99.0.0/24", "10.99.0.1", "blackhole"),
    ("route add blackhole fd99::/64", "fd99::1", "blackhole"),
    ("route add prohibit 10.99.0.0/24", "10.99.0.1", "prohibited"),
    ("route add prohibit fd99::/64", "fd99::1", "prohibited"),
    ("", "127.0.0.1", "this machine itself"),
    ("", "::1", "this machine itself"),
    ("", "10.1.0.1", "address of this machine"),
    ("", "fd02::1", "address of this machine"),
    ("", "10.1.0.255", "broadcast"),
    ("", "224.0.0.1", "not the address of a machine"),
    ("", "0.0.0.0", "not the address of a machine"),
    ("", "fe80::1", "link-local"),
])
def test_a_destination_without_a_way_says_why(net, setup, destination, words):
    if setup:
        net.lb.ip(setup)
    hop = net.probe("hop", destination)
    assert words in reason(hop)
    assert (hop["mtu"], hop["ifindex"]) == (0, 0)


def test_a_device_without_ethernet_or_arp_is_refused_by_name(net):
    net.lb.ip("""tuntap add dev tun0 mode tun
                 addr add 10.3.0.1/24 dev tun0
                 link set tun0 up
                 link set lb1 arp off""")
    tunnel = net.probe("hop", "10.3.0.2")
    assert "tun0 is not an Ethernet device" in reason(tunnel) and tunnel["problem"]["remedy"]
    silent = net.probe("hop", "10.2.0.2")
    assert "NOARP" in reason(silent) and "nud permanent" in silent["problem"]["remedy"]
    net.lb.ip("neigh replace 10.2.0.2 lladdr 02:00:00:00:00:22 dev lb1 nud permanent")
    assert net.probe.resolved("10.2.0.2")["mac"] == "02:00:00:00:00:22"
