# SPDX-License-Identifier: Apache-2.0
"""Many client addresses in one container, so that an algorithm that looks at them has something to look at.

The addresses are the last ones of the container's own network (Docker hands them out from the beginning). wrk cannot
bind to an address, so its connections get one each in rotation by source NAT in this container's network namespace; on the wire, and
for the balancer, they are different clients. Needs NET_ADMIN.
"""
import http.client
import ipaddress
import json
import subprocess

TABLE = "featherlb_load"


def own_interface():
    """(name, ipaddress.IPv4Interface) of the container's one network."""
    links = json.loads(subprocess.check_output(["ip", "-j", "-4", "addr"], text=True))
    for link in links:
        for address in link["addr_info"]:
            if link["ifname"] != "lo":
                return link["ifname"], ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}")
    raise RuntimeError("no IPv4 interface")


class Sources:
    """with Sources(64, port) as sources: sources.addresses; connections to the port are spread over them."""

    def __init__(self, count, port):
        self._name, interface = own_interface()
        last = int(interface.network.broadcast_address) - 1
        self._prefix = interface.network.prefixlen
        self._port = port
        self.addresses = [str(ipaddress.ip_address(last - i)) for i in range(count)]

    def __enter__(self):
        for address in self.addresses:
            subprocess.check_call(["ip", "addr", "replace", f"{address}/{self._prefix}", "dev", self._name])
        choices = ", ".join(f"{i} : {address}" for i, address in enumerate(self.addresses))
        rules = (f"table ip {TABLE} {{\n chain spread {{\n  type nat hook postrouting priority 100;\n"
                 f"  tcp dport {self._port} ip saddr != {{ {', '.join(self.addresses)} }}"
                 f" snat to numgen inc mod {len(self.addresses)} map {{ {choices} }}\n }}\n}}\n")
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["nft", "delete", "table", "ip", TABLE], check=False)
        for address in self.addresses:
            subprocess.run(["ip", "addr", "del", f"{address}/{self._prefix}", "dev", self._name], check=False)


def backend_of(host, port, source=None, timeout=5):
    """The backend that answers one new connection, from this source address."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout, source_address=(source, 0) if source else None)
    try:
        # Its own Host header keeps it apart from wrk's requests in the logs.
        connection.request("GET", "/", headers={"Host": "single"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")
        return answer.getheader("X-Backend")
    finally:
        connection.close()
