#!/bin/sh
# What libviva.so and libviva.a export is exactly tests/install/symbols.txt. To accept a change, from the project's root:
#   VIVA_BUILD_DIR=build/release sh tests/install/check_symbols.sh --regenerate
set -eu
here=$(cd "$(dirname "$0")" && pwd)
list=$here/symbols.txt
export LC_ALL=C
nm=${NM:-nm}

# Sanitizers and coverage add symbols of their own to an archive.
[ -z "${VIVA_SANITIZE:-}" ] && [ "${VIVA_COVERAGE:-OFF}" = OFF ] || { echo "skipped: an instrumented build"; exit 77; }

names() { awk 'NF >= 3 && $2 ~ /^[A-TV-Z]$/ { print $3 }' | sort -u; } # capitals are global; U is undefined
shared=$("$nm" -D --defined-only "$VIVA_BUILD_DIR/src/libviva.so" | names)
static=$("$nm" "$VIVA_BUILD_DIR/src/libviva.a" | names)

if [ "${1:-}" = --regenerate ]; then
  echo "$shared" >"$list"
  echo "$list: $(wc -l <"$list") symbols"
  exit 0
fi

status=0
compare() { # NAME SYMBOLS
  difference=$(echo "$2" | diff "$list" - | grep '^[<>]' || true)
  [ -n "$difference" ] || return 0
  status=1
  echo "$1 does not export what tests/install/symbols.txt lists (< only listed, > only exported):"
  echo "$difference"
}
compare libviva.so "$shared"
compare libviva.a "$static"
others=$(echo "$shared" | grep -v '^viva_' || true)
[ -z "$others" ] || { status=1; echo "exported without the prefix viva_: $others"; }
[ $status = 0 ] && echo "$(wc -l <"$list") symbols, the same in both libraries"
exit $status
