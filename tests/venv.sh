# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# venv.sh: Python environments. Sourced by tests/run.sh and tests/bench; does nothing by itself.

# venv_make FOLDER REQUIREMENTS: made anew when the list of what it holds has changed.
venv_make()
{
    if ! cmp -s "$2" "$1/requirements.txt"; then
        rm -rf "$1"
        mkdir -p "$(dirname "$1")"
        /usr/bin/python3 -m venv "$1"
        "$1/bin/pip" install --quiet --disable-pip-version-check -r "$2"
        cp "$2" "$1/requirements.txt"
    fi
}
