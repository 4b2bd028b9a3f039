# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion for bash: source it, or install it as /usr/share/bash-completion/completions/featherlb.

_featherlb() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' word options
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
        -*) ;;
        *) command=$word && break ;;
        esac
    done
    COMPREPLY=()
    case $previous in
    -c | --config | --socket) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$current") && return ;;
    --pins) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -d -- "$current") && return ;;
    --log-level) mapfile -t COMPREPLY < <(compgen -W 'debug info warning error' -- "$current") && return ;;
    --attach) mapfile -t COMPREPLY < <(compgen -W 'tc xdp xdp-generic' -- "$current") && return ;;
    --interface) mapfile -t COMPREPLY < <(cd /sys/class/net && compgen -G "$current*") && return ;;
    --protocol) mapfile -t COMPREPLY < <(compgen -W 'tcp udp' -- "$current") && return ;;
    --state) mapfile -t COMPREPLY < <(compgen -W 'open over established syn syn_ack midstream fin_client fin_backend udp_new udp_replied udp_stream' -- "$current") && return ;;
    --kind) mapfile -t COMPREPLY < <(compgen -W 'drop decision' -- "$current") && return ;;
    --reason | --for | --count | --client | --limit | --deadline | --interval | --timeout | --service | --from | --mtu | --backend) return ;;
    esac
    if [ -z "$command" ]; then
        options='--help run check plan reload status top flows events drain undrain weight detach backend-setup decap version'
    else
        # The program knows its own options.
        options=$("${COMP_WORDS[0]}" "$command" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,' | sort -u)
    fi
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
}
complete -F _featherlb featherlb
