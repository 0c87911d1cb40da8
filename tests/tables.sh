#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# tables.sh: every row of every table is registered, documented and used, asked of the program's
# own listings.
set -eu
cd "$(dirname "$0")/.."
qscope=${QSCOPE_BIN:-build/qscope}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"

passed=0
failed=0
# that TEXT COMMAND...: the command must succeed.
that()
{
    text=$1
    shift
    if "$@" >/dev/null 2>&1; then
        passed=$((passed + 1))
    else
        echo "$text"
        failed=$((failed + 1))
    fi
}

# names LISTING KEY: the values of a key in the one object of a listing.
names()
{
    "$qscope" --batch --json -e "$1" >"$work/json" || return 0
    python3 -c 'import json, sys
found = json.load(open(sys.argv[1]))
rows = next(v for v in found.values() if isinstance(v, list))
print(*(row[sys.argv[2]].replace(" ", "_") for row in rows), sep="\n")' "$work/json" "$2"
}

for file in engine/*.c analysis/*.c formats/*.c tui/*.c; do
    that "$file: not in ${file%%/*}/meson.build" \
        grep -qF "'${file#*/}'" "${file%%/*}/meson.build"
done

# Commands: a page with a usage line and an example, and a script that uses it.
commands=$(names help name)
that "help lists no commands" test -n "$commands"
scripts=$(ls tests/scripts/*.qs tests/screens/*.qs samples/scripts/*.qs)
for name in $commands; do
    command=$(echo "$name" | tr _ ' ')
    "$qscope" --batch -e "help $command" >"$work/page" 2>&1 || : >"$work/page"
    that "help $command: no page" grep -qF "$command" "$work/page"
    that "help $command: no example" grep -qi example "$work/page"
    # These three are asked above and below.
    case $command in help | metrics | ops) continue ;; esac
    # shellcheck disable=SC2086
    that "$command: no script of the tests or samples uses it" \
        grep -qE "(^|; )-?$command( |\$)" $scripts
done

# Metrics: a field of every layer and a sort key. Operators: where the formula comes from.
open="load pair samples/models/fp32.onnx samples/models/int8_qdq.onnx ; preprocess \
samples/preprocess.json ; dataset add samples/images --limit 1 ; run"
"$qscope" --batch --json -e "$open" -e layers >"$work/layers" 2>/dev/null || true
metrics=$(names metrics name)
that "metrics lists nothing" test -n "$metrics"
for metric in $metrics; do
    that "metric $metric: not a field of layers --json" grep -qF "\"$metric\":" "$work/layers"
    that "metric $metric: not a sort key" \
        "$qscope" --batch -e "$open" -e "layers --sort $metric --top 1"
done
# Outcomes: sensitivities and evaluate are judged by each.
outcomes=$(names outcomes name)
that "outcomes lists nothing" test -n "$outcomes"
for outcome in $outcomes; do
    that "outcome $outcome: sensitivity does not know it" \
        "$qscope" --batch -e "$open" -e "sensitivity /head/Gemm --metric $outcome"
    that "outcome $outcome: evaluate does not know it" \
        "$qscope" --batch -e "$open" -e "evaluate --metric $outcome"
done
that "ops lists nothing" test -n "$(names ops name)"
that "an operator names no specification" \
    test -z "$(names ops spec | grep -x '' || true)"

# Settings: options win over the environment, that over the file read at the start.
# shows WHAT NAME VALUE WORD...: run with these words, the setting has the value.
shows()
{
    text=$1 want="$2 = $3" name=$2
    shift 3
    that "$text: '$name' is not as wanted" test "$want" = "$("$@" -e "show $name" 2>&1)"
}
mkdir "$work/qscope"
echo 'set top 5 ; set jobs 3 ; set ascii off' >"$work/qscope/qscoperc"
shows "start file" top 5 env XDG_CONFIG_HOME="$work" "$qscope" --batch
shows "environment" top 7 env XDG_CONFIG_HOME="$work" QSCOPE_TOP=7 "$qscope" --batch
shows "option" jobs 2 env XDG_CONFIG_HOME="$work" QSCOPE_JOBS=4 "$qscope" --batch --jobs 2
shows "option" ascii on env XDG_CONFIG_HOME="$work" "$qscope" --batch --ascii
that "a wrong setting in the environment passes" \
    test 2 = "$(QSCOPE_TOP=x "$qscope" --batch -e show >/dev/null 2>&1 || echo $?)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
