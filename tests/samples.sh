#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# samples.sh: the committed samples are those that samples/README.md names, and the README's two
# commands' scripts end well.
set -eu
cd "$(dirname "$0")/../samples"
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
    if "$@"; then
        passed=$((passed + 1))
    else
        echo "$text"
        failed=$((failed + 1))
    fi
}

sed -n 's/^\([0-9a-f]\{64\}  .*\)/\1/p' README.md >"$work/sums"
that "digests differ from samples/README.md" sha256sum -c --quiet --strict "$work/sums"
that "samples/README.md does not name every model" \
    test "$(wc -l <"$work/sums")" -eq "$(find models -name '*.onnx' | wc -l)"
that "images and labels.csv differ" \
    test "$(grep -c '\.png,' images/labels.csv)" -eq "$(find images -name '*.png' | wc -l)"
demo()
{
    ./demo.sh </dev/null >"$work/out" 2>&1 || { cat "$work/out" && false; }
}
that "samples/demo.sh failed" demo
that "samples/demo.sh does not print the guilty layer" grep -q /block4/dw/Conv "$work/out"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
