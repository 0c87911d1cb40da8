#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# run.sh: builds a release, makes the models, and times qscope and onnxruntime by turns.
#
# usage: tests/bench/run.sh [--quick] [NAME...]
#
# NAME is a benchmark (all when none is given; --help lists them). Figures go to
# docs/benchmarks.json and from there to docs/benchmarks.md; with --quick, which measures less, to
# build/bench.
set -eu

cd "$(dirname "$0")/../.."
. tests/packages.sh
. tests/venv.sh
# shellcheck disable=SC2086
packages_install $BUILD_PACKAGES python3 python3-venv
venv_make build/check/venv tests/requirements.txt

bench=build/bench
mkdir -p "$bench"
[ -f "$bench/release/build.ninja" ] || meson setup "$bench/release" >"$bench/build.log"
ninja -C "$bench/release" >>"$bench/build.log" || {
    tail -n 40 "$bench/build.log"
    exit 1
}
# Made anew when the script that makes them has changed.
if ! cmp -s tests/bench/make_models.py "$bench/models/made_by.py"; then
    echo "making models"
    rm -rf "$bench/models"
    build/check/venv/bin/python tests/bench/make_models.py "$bench/models" >"$bench/models.log" 2>&1
    cp tests/bench/make_models.py "$bench/models/made_by.py"
fi
exec build/check/venv/bin/python tests/bench/bench.py "$@"
