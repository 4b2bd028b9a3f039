# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What a test run must leave as it found it, as one line of text per thing, so that a `diff` of before and after tells.
# Source it after lib.sh. Processes are told by an environment variable that every child of the run inherits;
# everything else by comparing. Names, not counters: a number that moves by itself would cry wolf.

# machine_state: prints the state, a few hundred lines; tools that are not there are left out.
machine_state() (
    set +e +o pipefail # a tool or a folder that is not there is not a fault
    find /run/netns -mindepth 1 -printf 'network namespace: %f\n' 2>/dev/null
    if command -v ip >/dev/null; then
        ip -o link 2>/dev/null | awk '{ sub(/@.*/, "", $2); sub(/:$/, "", $2); print "interface: " $2 }'
        ip -o addr 2>/dev/null | awk '{ print "address: " $2 " " $4 }'
        { ip route show table all && ip -6 route show table all; } 2>/dev/null | sed 's/ expires.*//; s/^/route: /'
        { ip rule && ip -6 rule; } 2>/dev/null | sed 's/^/rule: /'
        tc qdisc show 2>/dev/null | awk '{ print "qdisc: " $2 " " $4 " " $5 }'
    fi
    nft -s list ruleset 2>/dev/null | sed 's/^/nft: /'
    grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding \
        /proc/sys/net/bridge/bridge-nf-call-iptables /proc/sys/kernel/randomize_va_space 2>/dev/null | sed 's/^/setting: /'
    # /run/netns becomes a mount of its own with the first `ip netns add` of a boot, and stays one
    awk '$5 != "/run/netns" { print "mount: " $5 }' /proc/self/mountinfo
    find /sys/fs/bpf -mindepth 1 ! -name '*.debug' 2>/dev/null | sed 's/^/pin: /'
    find /sys/fs/cgroup -maxdepth 4 -type d 2>/dev/null | sed 's/^/cgroup: /'
    if command -v bpftool >/dev/null; then
        bpftool prog show 2>/dev/null | awk '/^[0-9]+:/ { print "BPF program: " $1 " " $2 " " $3 " " $4 }'
    fi
    find /etc/resolv.conf /etc/hosts /usr/sbin/policy-rc.d /run/docker.sock -maxdepth 0 -printf 'file: %p %s\n' 2>/dev/null
    find /run/featherlb* ! -type d ! -name '*.lock' -printf 'file: %p\n' 2>/dev/null # a lock file has to outlive its holder
    true
)

# processes_of RUN: processes whose environment says, in FEATHERLB_TEST_RUN, that they belong to RUN.
processes_of() {
    local dir
    for dir in /proc/[0-9]*; do
        if { tr '\0' '\n' <"$dir/environ"; } 2>/dev/null | grep -q "^FEATHERLB_TEST_RUN=.*:$1\(:\|$\)"; then
            printf 'process: %s %s\n' "${dir#/proc/}" "$({ tr '\0' ' ' <"$dir/cmdline" | cut -c 1-120; } 2>/dev/null)"
        fi
    done
}
