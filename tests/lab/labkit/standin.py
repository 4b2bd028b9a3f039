# SPDX-License-Identifier: Apache-2.0
"""Other balancers in featherlb's place, from the same configuration: nft, HAProxy (tcp mode), nginx stream.

Used to compare in bench/requests.py, and to try the lab itself without featherlb (LAB_STANDIN=nft).
"""
from .lab import wait_for
from .topology import Network


def _parts(listen: str) -> tuple[str, str, str]:
    """'[fd00::1]:80/tcp' -> ('fd00::1', '80', 'tcp')"""
    rest, protocol = listen.rsplit("/", 1)
    address, port = rest.rsplit(":", 1)
    return address.strip("[]"), port, protocol


def _endpoints(service: dict) -> list[tuple[str, str]]:
    pairs = (backend["address"].rsplit(":", 1) for backend in service["backends"])
    return [(address.strip("[]"), port) for address, port in pairs]


class _Standin:
    """The part of Featherlb's interface that makes sense for others."""

    def __init__(self, network: Network, config: dict, **_):
        self.network, self.config = network, config

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self) -> str:
        return ""

    def alive(self) -> bool:
        return True

    def wait_ready(self) -> None:
        pass


class Routed(_Standin):
    """No balancer: the kernel forwards, and clients talk to the backends' own addresses."""

    def start(self):
        self.network.set_forwarding(True)

    def stop(self):
        self.network.set_forwarding(False)


class Nft(_Standin):
    """DNAT by round robin in the kernel; snat services are masqueraded."""

    def start(self):
        rules, masquerade = [], set()
        for service in self.config["services"]:
            ends = _endpoints(service)
            family = "ip6" if ":" in ends[0][0] else "ip"
            choice = ", ".join(f"{i} : {address} . {port}" for i, (address, port) in enumerate(ends))
            for listen in service["listen"]:
                address, port, protocol = _parts(listen)
                rules.append(f"{family} daddr {address} {protocol} dport {port} meta mark set "
                             f"{int(service['forward'] == 'snat')} dnat {family} addr . port to "
                             f"numgen inc mod {len(ends)} map {{ {choice} }}")
            if service["forward"] == "snat":
                masquerade.add("meta mark 1 masquerade")
        text = "table inet standin {\nchain pre { type nat hook prerouting priority -100; " + "\n".join(rules) + \
            "\n}\nchain post { type nat hook postrouting priority 100; " + "\n".join(masquerade) + "\n}\n}\n"
        self.network.balancer.run(["nft", "-f", "-"], input=text)
        self.network.set_forwarding(True)

    def stop(self):
        self.network.balancer.run(["nft", "delete", "table", "inet", "standin"])
        self.network.set_forwarding(False)

    def reload(self, config: dict | None = None):
        self.config = config or self.config
        self.network.balancer.run(["nft", "delete", "table", "inet", "standin"])
        self.start()


class _Program(_Standin):
    """A proxy in user space; TCP services only."""

    def start(self):
        file = self.network.lab.directory / f"{type(self).__name__}.conf"
        file.write_text(self.text())
        self.process = self.network.lab.start(self.network.balancer, self.command(str(file)),
                                              log=f"{type(self).__name__}.log")
        ports = [":" + _parts(service["listen"][0])[1] for service in self.config["services"]]
        wait_for(type(self).__name__, lambda: all(
            port in self.network.balancer.run(["ss", "-Hltn"]).stdout for port in ports))

    def stop(self):
        self.network.lab.stop(self.process)
        for pid in self.network.balancer.pids():  # the namespace is ours, so what runs in it is the proxy's worker
            wait_for("proxy's workers to end", lambda: pid not in self.network.balancer.pids())


class Haproxy(_Program):
    def command(self, file):
        return ["haproxy", "-db", "-f", file]

    def text(self):
        lines = ["global", "  maxconn 8000", "  nbthread 2", "defaults", "  mode tcp", "  timeout connect 5s",
                 "  timeout client 60s", "  timeout server 60s", "  balance roundrobin"]
        for service in self.config["services"]:
            address, port, _ = _parts(service["listen"][0])
            lines += [f"listen {service['name']}", f"  bind {address}:{port}"]
            lines += [f"  server b{i} {end[0]}:{end[1]}" for i, end in enumerate(_endpoints(service))]
        return "\n".join(lines) + "\n"


class NginxStream(_Program):
    def command(self, file):
        return ["nginx", "-c", file, "-e", str(self.network.lab.directory / "stream-error.log"), "-g", "daemon off;"]

    def text(self):
        directory = self.network.lab.directory
        blocks = []
        for service in self.config["services"]:
            address, port, _ = _parts(service["listen"][0])
            bracketed = f"[{address}]" if ":" in address else address
            servers = " ".join(f"server {backend['address']};" for backend in service["backends"])
            blocks.append(f"upstream {service['name']} {{ {servers} }}\n"
                          f"server {{ listen {bracketed}:{port} backlog=4096; proxy_pass {service['name']}; }}")
        return (f"load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nuser root;\nworker_processes 2;\n"
                f"worker_rlimit_nofile 16384;\npid {directory}/stream.pid;\nevents {{ worker_connections 8000; }}\n"
                f"stream {{\n" + "\n".join(blocks) + "\n}\n")
