# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Shell helpers shared by the scripts in this folder. Source it, do not run it. It sets strict mode and
# `repo` (the top of the tree), and gives: messages, a stack of clean-ups that runs however the script ends
# (also on Ctrl-C), a way to look at the machine before and after, and what debootstrap and apt need to work in
# a root of their own with this machine's package sources (nothing of which is ever written into the tree).

set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache_dir=$repo/build/cache
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$*"
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root: run it with sudo ($1)"
}

# --- Clean-ups: on_exit 'COMMAND' pushes; they run in reverse order, once, whatever ends the script. -----------

cleanup_stack=()
cleanup_pid=$BASHPID

on_exit() { cleanup_stack+=("$1"); }

run_cleanups() {
    local code=$?
    [ "$BASHPID" = "$cleanup_pid" ] || return 0 # a subshell inherits the trap, not the duty
    trap '' INT TERM HUP                        # a second Ctrl-C must not leave half of it undone
    set +e
    local i
    for ((i = ${#cleanup_stack[@]} - 1; i >= 0; i--)); do
        eval "${cleanup_stack[i]}"
    done
    cleanup_stack=()
    exit "$code"
}
trap run_cleanups EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# end_process PID [SECONDS]: asks politely, then not; returns when it is gone.
end_process() {
    local pid=$1 i
    kill -TERM "$pid" 2>/dev/null || return 0
    for ((i = 0; i < ${2:-10} * 10; i++)); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

# wait_until SECONDS COMMAND...: polls; false when the time is over.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

# --- Roots of their own ----------------------------------------------------------------------------------------

# apt_mirror: the address of this machine's Debian archive for bookworm, or the public one.
apt_mirror() {
    local uri
    # shellcheck disable=SC2016 # $(REPO_URI) is apt's, not the shell's
    uri=$(apt-get indextargets --format '$(CODENAME) $(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        awk '($1 == "bookworm" || $2 == "bookworm") && /debian/ { print $3; exit }') || true
    printf '%s\n' "${uri:-http://deb.debian.org/debian/}"
}

# apt_proxy_environment: exports http_proxy when apt is told to use one, for programs that are not apt.
apt_proxy_environment() {
    local proxy
    proxy=$(apt-config dump --format '%v%n' Acquire::http::Proxy 2>/dev/null | head -n 1)
    if [ -n "$proxy" ] && [ "$proxy" != DIRECT ]; then
        export http_proxy=$proxy
    fi
}

# copy_apt_config ROOT: makes apt inside ROOT fetch from where apt on this machine fetches. Only the Acquire
# settings are taken from apt.conf: hooks of other packages would call programs that ROOT does not have.
copy_apt_config() {
    local root=$1 path
    mkdir -p "$root/etc/apt/apt.conf.d" "$root/etc/apt/sources.list.d" "$root/usr/share/keyrings"
    apt-config dump --format '%F "%v";%n' Acquire | grep -v '^Acquire "";$' >"$root/etc/apt/apt.conf.d/90host" || true
    # shellcheck source=/dev/null
    if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = bookworm ]; then
        rm -f "$root/etc/apt/sources.list"
        for path in sources.list sources.list.d auth.conf auth.conf.d trusted.gpg.d keyrings; do
            [ -e "/etc/apt/$path" ] && cp -a "/etc/apt/$path" "$root/etc/apt/"
        done
        cp -an /usr/share/keyrings/. "$root/usr/share/keyrings/"
    fi
    if [ -d /usr/local/share/ca-certificates ]; then
        mkdir -p "$root/usr/local/share/ca-certificates"
        cp -a /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    fi
}

# base_root_tar: prints the path of a tar of a minimal Debian 12, making it when it is not in the cache.
base_root_tar() {
    local tar=$cache_dir/bookworm-minbase.tar work
    if [ ! -s "$tar" ]; then
        mkdir -p "$cache_dir"
        work=$(mktemp -d "$cache_dir/debootstrap.XXXXXX")
        (
            apt_proxy_environment
            debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" "$(apt_mirror)"
        ) >"$work/log" 2>&1 || {
            tail -n 30 "$work/log" "$work/root/debootstrap/debootstrap.log" >&2
            rm -rf --one-file-system "$work"
            return 1
        }
        rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
        copy_apt_config "$work/root"
        tar -C "$work/root" -cf "$tar.$$" . && mv "$tar.$$" "$tar"
        rm -rf --one-file-system "$work"
    fi
    printf '%s\n' "$tar"
}

# export_tree DIR: the tree as it is on disk (tracked files with their changes, and new files that are not
# ignored), without build output and without .git.
export_tree() {
    mkdir -p "$1"
    git -c safe.directory='*' -C "$repo" ls-files -z --cached --others --exclude-standard |
        (cd "$repo" && while IFS= read -r -d '' path; do [ -e "$path" ] && printf '%s\0' "$path"; done) |
        tar -C "$repo" --null --no-recursion -T - -cf - | tar -C "$1" --no-same-owner -xf -
}
