#!/bin/sh
# The ABI of libviva.so is the one recorded in tests/install/viva.abi. See tools/check_abi.
set -eu
[ "${VIVA_BUILD_TYPE:-Release}" = Release ] && [ -z "${VIVA_SANITIZE:-}" ] || { echo "skipped: not a release build"; exit 77; }
case ${CC:-gcc} in *clang*) echo "skipped: the record was made with gcc"; exit 77 ;; esac
command -v abidiff >/dev/null || { echo "skipped: no abidiff (package abigail-tools)"; exit 77; }
exec sh "$VIVA_SOURCE_DIR/tools/check_abi" "$VIVA_BUILD_DIR/src/libviva.so"
