# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
#
# packages.sh: the one list of Debian packages, and how to get the missing ones.
# Sourced by samples/demo.sh and tests/run.sh; does nothing by itself.

# Needed to build and run the program.
# shellcheck disable=SC2034
BUILD_PACKAGES="gcc libc6-dev meson ninja-build pkg-config libdnnl-dev libncurses-dev
    libreadline-dev libjansson-dev libpng-dev libturbojpeg0-dev libutf8proc-dev
    libsqlite3-dev"
# Needed on top of them to run every check.
# shellcheck disable=SC2034
TEST_PACKAGES="libcmocka-dev libchafa-dev libglib2.0-dev clang-format groff-base python3 python3-venv shellcheck"

# packages_install NAME...: installs those that are missing, says nothing when none is.
packages_install()
{
    missing=""
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=""
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0

    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        as_root=sudo
        command -v sudo >/dev/null || {
            echo "missing packages, and neither root nor sudo to install them:$missing" >&2
            return 1
        }
    fi
    echo "installing:$missing" >&2
    package_log=$(mktemp)
    # shellcheck disable=SC2086
    if ! { $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
            --no-install-recommends $missing; } >"$package_log" 2>&1 </dev/null; then
        tail -n 20 "$package_log" >&2
        rm -f "$package_log"
        return 1
    fi
    rm -f "$package_log"
}
