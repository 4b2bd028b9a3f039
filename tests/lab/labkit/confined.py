# SPDX-License-Identifier: Apache-2.0
"""What a systemd unit would do to a program, without systemd: run as

    confined.py UNIT WRITABLE[,WRITABLE...] PROGRAM ARGUMENT...

Of the unit hold CapabilityBoundingSet, NoNewPrivileges, ProtectSystem=strict, RestrictAddressFamilies, RestrictNamespaces,
MemoryDenyWriteExecute, LockPersonality and SystemCallFilter. What is forbidden fails with EPERM. All mounts are read-only but /dev, /proc, /sys (not
what is mounted below them) and the writable paths, which stand for the unit's RuntimeDirectory and ReadWritePaths. Left out are ProtectHome and PrivateTmp: the
tree and the lab's files may be there.
"""
import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}
_LAST_CAPABILITY = 40
_NAMESPACES = 0x7e020000  # of clone(): CLONE_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET
_EQUAL, _MASKED_EQUAL = 4, 7
_ALLOW, _EPERM, _ENOSYS = 0x7fff0000, 0x00050001, 0x00050026
_CONDITIONS = {  # a call's alternatives, each (argument, comparison, mask or value, value); none: never
    "mmap": [(2, _MASKED_EQUAL, 6, 0), (2, _MASKED_EQUAL, 6, 2), (2, _MASKED_EQUAL, 6, 4)],  # not both PROT_WRITE and PROT_EXEC
    "mprotect": [(2, _MASKED_EQUAL, 4, 0)],
    "pkey_mprotect": [(2, _MASKED_EQUAL, 4, 0)],
    "clone": [(0, _MASKED_EQUAL, _NAMESPACES, 0)],
    "personality": [],
    "unshare": [],
    "setns": [],
    "clone3": [],
}


def setting(unit: Path, name: str) -> list[str]:
    return [word for line in unit.read_text().splitlines() if line.startswith(name + "=") for word in line.split("=", 1)[1].split()]


def allowed_calls(unit: Path) -> set[str]:
    """SystemCallFilter, its groups spelled out."""
    done = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True)
    groups, name = {}, ""
    for line in done.stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
        elif line.startswith("    ") and not line.strip().startswith("#"):
            groups.setdefault(name, []).append(line.strip())

    def resolve(word: str) -> set[str]:
        return {call for one in groups[word] for call in resolve(one)} if word.startswith("@") else {word}

    return {call for word in setting(unit, "SystemCallFilter") for call in resolve(word)}


class _Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("how", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def _filter(unit: Path, calls: set[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_EPERM)))
    conditions = {**_CONDITIONS, "socket": [(0, _EQUAL, int(getattr(socket, family)), 0) for family in setting(unit, "RestrictAddressFamilies")]}

    def rule(action: int, number: int, *comparisons) -> None:
        array = (_Comparison * max(1, len(comparisons)))(*comparisons)
        error = seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(action), number, len(comparisons), array)
        assert error == 0, (number, error)

    for name in sorted(calls):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # there is none on this machine
            continue
        if name == "clone3":  # its flags are in memory: systemd, too, sends the C library back to clone()
            rule(_ENOSYS, number)
        elif name not in conditions:
            rule(_ALLOW, number)
        for comparison in conditions.get(name, []):
            rule(_ALLOW, number, _Comparison(*comparison))
    assert seccomp.seccomp_load(context) == 0


class _Attributes(ctypes.Structure):
    _fields_ = [("set", ctypes.c_uint64), ("clear", ctypes.c_uint64), ("propagation", ctypes.c_uint64), ("userns", ctypes.c_uint64)]


def _read_only(libc, writable: list[str]) -> None:
    def mount_attributes(path: str, recursive: bool, **words) -> None:
        attributes = _Attributes(**words)
        if libc.syscall(442, -100, path.encode(), 0x8000 if recursive else 0, ctypes.byref(attributes), ctypes.sizeof(attributes)) != 0:
            raise OSError(ctypes.get_errno(), "mount_setattr", path)

    assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
    mount_attributes("/", True, propagation=1 << 18)  # MS_PRIVATE
    for path in writable:
        Path(path).mkdir(exist_ok=True)  # as RuntimeDirectory would be
        subprocess.run(["mount", "--bind", path, path], check=True)
    mount_attributes("/", True, set=1)  # MOUNT_ATTR_RDONLY
    for path in ("/dev", "/proc", "/sys"):
        mount_attributes(path, False, clear=1)
    for path in writable:
        mount_attributes(path, False, clear=1)


def main() -> None:
    unit, writable, program = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
    calls, kept = allowed_calls(unit), {_CAPABILITIES[name] for name in setting(unit, "CapabilityBoundingSet")}
    assert setting(unit, "ProtectSystem") == ["strict"] and setting(unit, "MemoryDenyWriteExecute") == ["yes"]
    libc = ctypes.CDLL(None, use_errno=True)
    _read_only(libc, writable)
    for number in range(_LAST_CAPABILITY + 1):
        if number not in kept:
            assert libc.prctl(24, number, 0, 0, 0) == 0  # PR_CAPBSET_DROP
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    _filter(unit, calls)
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
