#!/bin/sh
# A release build of viva and libviva.so carries what cmake/options.cmake asks for.
set -eu
readelf=${READELF:-readelf}
[ "${VIVA_BUILD_TYPE:-Release}" = Release ] && [ -z "${VIVA_SANITIZE:-}" ] || { echo "skipped: not a release build"; exit 77; }
status=0
need() { # FILE WHAT READELF-OPTION PATTERN
  "$readelf" "$3" --wide "$1" 2>/dev/null | grep -qE "$4" || { status=1; echo "$1: no $2"; }
}
for file in "$VIVA_BUILD_DIR/src/libviva.so" "$VIVA_BUILD_DIR/viva"; do
  [ -e "$file" ] || { echo "$file is missing"; exit 1; }
  need "$file" "position independence" -h 'Type: +DYN'
  need "$file" "read-only relocations" -l 'GNU_RELRO'
  need "$file" "binding at start" -d 'BIND_NOW|FLAGS.*NOW'
  need "$file" "stack protector" --dyn-syms '__stack_chk_fail'
  need "$file" "fortified calls" --dyn-syms '__[a-z]+_chk'
  "$readelf" -l --wide "$file" | grep GNU_STACK | grep -q 'RWE' && { status=1; echo "$file: executable stack"; }
  ! "$readelf" -d "$file" | grep -qE 'RPATH|RUNPATH' || { [ "$file" != "$VIVA_BUILD_DIR/viva" ] || { status=1; echo "$file: a run path"; }; }
done
"$readelf" -d "$VIVA_BUILD_DIR/src/libviva.so" | grep -q 'SONAME.*\[libviva\.so\.[0-9]*\]' || { status=1; echo "no SONAME"; }
exit $status
