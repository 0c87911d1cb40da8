#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
#
# layering.sh: engine <- analysis <- formats <- tui. A file includes its own folder's headers and
# the public headers of lower folders, always as "folder/file.h"; third-party headers only where
# the design puts them.
set -eu
cd "$(dirname "$0")/.."

passed=0
failed=0
complain()
{
    echo "$1"
    failed=$((failed + 1))
}

# rank FOLDER: its place in the order.
rank()
{
    case $1 in
    engine) echo 1 ;;
    analysis) echo 2 ;;
    formats) echo 3 ;;
    tui) echo 4 ;;
    *) echo 9 ;;
    esac
}

# fault FILE HEADER: why this file may not include it; nothing when it may.
fault()
{
    own=${1%%/*}
    folder=${2%%/*}
    if [ "$folder" = "$2" ]; then
        echo "does not name its folder"
    elif [ ! -f "$2" ]; then
        echo "does not exist"
    elif [ "$folder" = "$own" ] || [ "$2" = engine/base.h ]; then
        :
    elif [ "$(rank "$folder")" -ge "$(rank "$own")" ]; then
        echo "stands above $own/"
    elif [ "$2" != "$folder/$folder.h" ]; then
        echo "is private to $folder/"
    fi
}

included='s/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\(.*\)".*/\1/p'
for file in engine/*.[ch] analysis/*.[ch] formats/*.[ch] tui/*.[ch]; do
    before=$failed
    # Names of headers hold no blanks.
    # shellcheck disable=SC2013
    for header in $(sed -n "$included" "$file"); do
        why=$(fault "$file" "$header")
        [ -z "$why" ] || complain "$file: \"$header\" $why"
    done
    [ "$failed" -ne "$before" ] || passed=$((passed + 1))
done

# only HEADER FILE...: the header is included by these files alone.
only()
{
    header=$1
    shift
    before=$failed
    for file in $(grep -lE "^[[:space:]]*#[[:space:]]*include <$header>" \
        engine/*.[ch] analysis/*.[ch] formats/*.[ch] tui/*.[ch] || true); do
        case " $* " in
        *" $file "*) ;;
        *) complain "$file: <$header> belongs to $*" ;;
        esac
    done
    [ "$failed" -ne "$before" ] || passed=$((passed + 1))
}
only dnnl.h engine/accel.c
only utf8proc.h engine/text.c
only png.h formats/png.c
only turbojpeg.h formats/jpeg.c
only sqlite3.h formats/cache.c
only ncurses.h tui/term.c
only curses.h tui/term.c
only readline/readline.h tui/prompt.c
only readline/history.h tui/prompt.c

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
