# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The style checks that scripts/test runs, one function each: they print what is wrong and return false. Run from the top
# of the tree.

# tree_files [PATTERN...]: files of the tree that are there, also new ones that are not yet committed.
tree_files() {
    git -c safe.directory='*' ls-files --cached --others --exclude-standard "$@" |
        while IFS= read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
}

check_format() {
    tree_files '*.h' '*.c' '*.cpp' | xargs -d '\n' clang-format --dry-run -Werror
}

check_shell() {
    tree_files | while IFS= read -r file; do
        head -n 2 "$file" | tr -d '\0' | grep -qE '^#!.*\b(ba|da)?sh\b|^# shellcheck shell=' && printf '%s\n' "$file"
    done | xargs -d '\n' shellcheck
}

# Code carries the right SPDX line near the top; a header shared with the kernel's side may carry either licence.
check_licences() {
    local bad=0 file wanted
    while IFS= read -r file; do
        case $file in
        *.c | *.h | *.cpp | *.py | *.sh | *.cmake | *CMakeLists.txt | *.yml | *Dockerfile* | scripts/* | .ci/*) ;;
        *) continue ;;
        esac
        case $file in
        bpf/* | *.bpf.c) wanted='SPDX-License-Identifier: GPL-2.0-only' ;;
        include/* | bench/*.h) wanted='SPDX-License-Identifier: .*(GPL-2.0-only|Apache-2.0)' ;;
        *) wanted='SPDX-License-Identifier: Apache-2.0' ;;
        esac
        head -n 5 "$file" | grep -qE "$wanted" || { echo "$file: no '$wanted' in its first lines" && bad=1; }
    done < <(tree_files)
    return $bad
}

# Every monolith began small. Most files stay under 400 lines; at 500 a file has two subjects.
check_sizes() {
    local bad=0 file lines
    while IFS= read -r file; do
        lines=$(wc -l <"$file")
        [ "$lines" -le 500 ] || { echo "$file: $lines lines, more than 500: split it" && bad=1; }
    done < <(tree_files '*.c' '*.h' '*.cpp' '*.py' 'scripts/*')
    return $bad
}

# check_tidy JOBS: what the release build compiles, as it compiles it. (thread_tests are some of the unit tests once more.)
check_tidy() {
    python3 -c 'import json, sys
for file in sorted({one["file"] for one in json.load(sys.stdin) if "thread_tests.dir" not in one["command"] and one["file"].endswith(".cpp")}):
    print(file)' <build/release/compile_commands.json |
        xargs -d '\n' -n 1 -P "$1" clang-tidy -p build/release --quiet
}
