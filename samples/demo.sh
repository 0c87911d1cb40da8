#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# demo.sh: from a fresh Debian 12 to the workbench on the sample pair.
# Installs what is missing (root or sudo), builds into build/, opens the screen; with no terminal
# it runs the sample script scripts/tour.qs instead. May be run again, and from any directory.
set -eu

cd "$(dirname "$0")/.."
. tests/packages.sh
# shellcheck disable=SC2086
packages_install $BUILD_PACKAGES

build()
{
    [ -f build/build.ninja ] || meson setup build || return 1
    ninja -C build
}

log=$(mktemp)
if ! build >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"

if [ -t 0 ] && [ -t 1 ]; then
    build/qscope -x samples/scripts/open.qs
else
    build/qscope --batch -x samples/scripts/tour.qs
fi
