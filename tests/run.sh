#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# run.sh: installs what the checks need, builds twice, runs everything.
# The builds are a release with warnings as errors and one with ASan and UBSan; both stand in
# build/check with the Python environment of the oracles. Real models are looked for in
# QSCOPE_SHARED or ../shared; without them the checks that need them are skipped.
# Arguments are passed to check.py: names of checks to run (all when none is given).
# The last line printed is "N passed, N failed, N skipped".
set -eu

cd "$(dirname "$0")/.."
. tests/packages.sh
. tests/venv.sh
# shellcheck disable=SC2086
packages_install $BUILD_PACKAGES $TEST_PACKAGES

check=build/check
mkdir -p "$check"

venv_make "$check/venv" tests/requirements.txt

configure_and_build()
{
    [ -f "$1/build.ninja" ] || meson setup "$@" || return 1
    ninja -C "$1"
}

# build NAME MESON-OPTION...: shows what went wrong and ends the run when it does not build.
build()
{
    dir="$check/$1"
    shift
    echo "building $dir"
    if ! configure_and_build "$dir" "$@" >"$dir.log" 2>&1; then
        grep -E -A 8 'error|ERROR|FAILED' "$dir.log" | head -n 60
        echo "0 passed, 1 failed, 0 skipped"
        exit 1
    fi
}

build release -Dwerror=true
# Without werror: the sanitizers make gcc guess at values that it knows otherwise.
build asan -Dbuildtype=debugoptimized -Db_sanitize=address,undefined

exec "$check/venv/bin/python" tests/check.py "$@"
