# SPDX-License-Identifier: Apache-2.0
"""featherlb under test: started in the balancer's namespace, reloaded, killed, asked."""
import json
import os
import signal
import subprocess
from pathlib import Path

from . import config as configs
from . import tools
from .lab import wait_for
from .topology import Network

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INVALID, EXIT_UNREACHABLE = range(5)


class Featherlb:
    """A with block: started at its beginning; at its end ended and, unless it was ephemeral, detached."""

    def __init__(self, network: Network, config: dict, ephemeral: bool = True, environment: dict | None = None,
                 name: str = "featherlb"):
        self.network, self.config, self.ephemeral = network, config, ephemeral
        directory = network.lab.directory
        self.file: Path = directory / f"{name}.yaml"
        self.socket: Path = directory / f"{name}.sock"
        self.pins: Path = network.lab.bpffs() / name
        self._log: Path = directory / f"{name}.log"
        self._environment = {**os.environ, **(environment or {})}
        self.binary: str = tools.featherlb()
        self.process: subprocess.Popen | None = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()  # or it would be in the way of all tests after this one
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        if not self.ephemeral:
            self.detach()

    def arguments(self) -> list[str]:
        more = ["--ephemeral"] if self.ephemeral else []
        return [self.binary, "run", "-c", str(self.file), "--pins", str(self.pins), "--socket",
                str(self.socket), *more]

    def start(self, wait: bool = True) -> None:
        configs.write(self.file, self.config)
        self._log.write_text("")
        self.process = self.network.lab.start(self.network.balancer, self.arguments(), log=self._log.name,
                                              env=self._environment)
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout: float = 240 if os.environ.get("FEATHERLB_GUEST") else 60) -> None:
        def ready() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"featherlb ended with exit code {self.process.returncode}:\n{self.log()}")
            return any("ready" in line.split() for line in self.log().splitlines())

        wait_for("featherlb ready", ready, timeout)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: the data plane has to go on by itself."""
        self.network.lab.stop(self.process, signal.SIGKILL)

    def stop(self) -> int:
        return self.network.lab.stop(self.process) if self.process else 0

    def words(self, *words: str) -> list[str]:
        """The command line of a command; the socket's path leads there from any network namespace."""
        return [self.binary, *words, "--socket", str(self.socket)]

    def command(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.network.balancer.run(self.words(*words), check=check)

    def reload(self, config: dict | None = None) -> None:
        """Writes the file and reloads by command; raises if the daemon refuses."""
        if config is not None:
            self.config = config
            configs.write(self.file, config)
        self.command("reload")

    def status(self) -> dict:
        return json.loads(self.command("status", "--json").stdout)

    def private_kib(self) -> int:
        """Private memory, without what is mapped of the maps."""
        total, counts = 0, False
        for line in open(f"/proc/{self.process.pid}/smaps"):
            if "-" in line.split()[0]:  # a mapping begins
                counts = "bpf-map" not in line
            elif counts and line.startswith(("Private_Clean", "Private_Dirty")):
                total += int(line.split()[1])
        return total

    def holds(self) -> dict[str, int]:
        """What a daemon that leaks has more and more of."""
        there = f"/proc/{self.process.pid}"
        return {"KiB": self.private_kib(), "descriptors": len(os.listdir(f"{there}/fd")),
                "threads": len(os.listdir(f"{there}/task"))}

    def detach(self) -> None:
        self.network.balancer.run([self.binary, "detach", "--pins", str(self.pins)])
