# SPDX-License-Identifier: Apache-2.0
"""Where the programs are that the lab runs: featherlb, and lab_load (built here if the build did not)."""
import functools
import os
from pathlib import Path

from .netns import run

ROOT = Path(__file__).resolve().parents[3]


def featherlb() -> str:
    """FEATHERLB_BIN, or the release build."""
    return os.environ.get("FEATHERLB_BIN", str(ROOT / "build/release/featherlb"))


def other_featherlb() -> str:
    """Of another version, with another layout of what is pinned: FEATHERLB_OTHER_BIN, or the build named other."""
    path = os.environ.get("FEATHERLB_OTHER_BIN", str(ROOT / "build/other/featherlb"))
    if not Path(path).exists():
        raise RuntimeError(f"{path} is not built: cmake --preset other && cmake --build --preset other --target featherlb")
    return path


def processors() -> list[int]:
    """Those that this process may run on."""
    return sorted(os.sched_getaffinity(0))


@functools.cache
def lab_load() -> str:
    """The load program. Built by itself (a second) unless the tree's build has it up to date."""
    source = ROOT / "tests/lab/tools"
    newest = max(path.stat().st_mtime for path in source.iterdir())
    built = ROOT / "build/release/lab_load"
    if built.exists() and built.stat().st_mtime >= newest:
        return str(built)
    build = ROOT / "build/lab-tools"
    run(["cmake", "-S", str(source), "-B", str(build), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"])
    run(["cmake", "--build", str(build)], timeout=300)
    return str(build / "lab_load")


def load_bpf(source: Path, lab, kind: str, name: str = "", **defines) -> Path:
    """Compiles a test's own small BPF program (kind: xdp, classifier) and loads it; its pin, on the lab's bpffs. With
    a name and macros of its own, one source gives several programs."""
    name = name or source.name.split(".")[0]
    compiled = lab.directory / (name + ".o")
    pin = lab.bpffs() / name
    if not pin.exists():
        run(["clang-19", "-target", "bpf", "-O2", "-g", "-idirafter", f"/usr/include/{os.uname().machine}-linux-gnu",
             *(f"-D{macro}={value}" for macro, value in defines.items()), "-c", str(source), "-o", str(compiled)])
        run(["bpftool", "prog", "load", str(compiled), str(pin), "type", kind])
    return pin
