#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# style.sh: what a reader should not have to look for: formatting, licence lines, banned
# functions, leftovers, file sizes.
set -eu
cd "$(dirname "$0")/.."

sources=$(ls engine/*.[ch] analysis/*.[ch] formats/*.[ch] tui/*.[ch] tests/*.[ch] tests/bench/*.[ch])
below_tui=$(ls engine/*.c analysis/*.c formats/*.c)
passed=0
failed=0

# none TITLE OFFENCES: there must be none.
none()
{
    if [ -n "$2" ]; then
        echo "$1:"
        echo "$2" | sed 's/^/    /' | head -n 20
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
}

unformatted()
{
    for file in $sources; do
        clang-format "$file" | cmp -s - "$file" || echo "$file"
    done
}

# find_in FILES GREP-ARGUMENT...: grep that does not mind finding nothing.
find_in()
{
    files=$1
    shift
    # shellcheck disable=SC2086
    grep "$@" -- $files || true
}

# calls NAME|NAME...: a pattern for calls of these very names.
calls()
{
    echo "(^|[^_[:alnum:]])($1)[[:space:]]*\("
}

none "not formatted, run clang-format -i" "$(unformatted)"
none "no licence line" "$(find_in "$sources $(ls .ci/run samples/*.py samples/*.sh \
    tests/*.py tests/*.sh tests/oracle/*.py tests/bench/*.py tests/bench/*.sh \
    tests/bench/peers/*.py)" -LF 'SPDX-License-Identifier: GPL-3.0-or-later')"
none "banned function" "$(find_in "$sources" -nE \
    "$(calls 'strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca')")"
none "printing or exiting below tui/" "$(find_in "$below_tui" -nE \
    "$(calls 'printf|puts|putchar|exit|abort|_exit')" | grep -v '^engine/base\.c:.*abort')"
none "unfinished" "$(find_in "$sources" -nwE 'TODO|FIXME|XXX|HACK')"
none "tab, or blank at the end of a line" "$(find_in "$sources" -nP '\t| $')"
# The soft limit is 500; past this one a file does too much.
# shellcheck disable=SC2086
none "file too long" "$(wc -l $sources | awk '$2 != "total" && $1 > 700 { print $2 ": " $1 }')"
none "shell" "$(shellcheck -x tests/*.sh tests/bench/*.sh samples/*.sh .ci/run || true)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
