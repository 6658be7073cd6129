#!/bin/sh
# The Debian package: built, its fields and files, the program in it runs. With VIVA_CLEAN_ROOT=FOLDER (a Debian 12 made by
# debootstrap, see docs/testing.md; root is needed) it is installed there, runs there, and is removed.
set -eu
[ -z "${VIVA_SANITIZE:-}" ] && [ "${VIVA_COVERAGE:-OFF}" = OFF ] || { echo "skipped: not a release build"; exit 77; }
command -v cpack >/dev/null && command -v dpkg-deb >/dev/null || { echo "skipped: no cpack or no dpkg-deb"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cpack -G DEB --config "$VIVA_BUILD_DIR/CPackConfig.cmake" -B "$work" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
set -- "$work"/*.deb
package=$1
dpkg-deb -f "$package" Package Version Architecture Depends
dpkg-deb -f "$package" Depends | grep -q libc6 || { echo "the package does not depend on libc6"; exit 1; }
dpkg-deb -x "$package" "$work/root"
for file in bin/viva share/man/man1/viva.1 include/viva/viva.h share/bash-completion/completions/viva; do
  [ -e "$work/root/usr/$file" ] || { echo "not in the package: $file"; exit 1; }
done
! readelf -S "$work/root/usr/bin/viva" | grep -q '\.debug_info' || { echo "the program is not stripped"; exit 1; }
"$work/root/usr/bin/viva" --version

root=${VIVA_CLEAN_ROOT:-}
[ -n "$root" ] || { echo "not installed in a clean root: VIVA_CLEAN_ROOT names none"; exit 0; }
cp "$package" "$root/tmp/viva.deb"
cp "$VIVA_SOURCE_DIR/tests/golden/tiny.gguf" "$root/tmp/tiny.gguf"
chroot "$root" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq /tmp/viva.deb' >"$work/log" 2>&1 ||
  { cat "$work/log"; exit 1; }
chroot "$root" viva generate -m /tmp/tiny.gguf -p 'Once upon a time' -n 8 -q
chroot "$root" ldconfig -p | grep -q libviva || { echo "the library is not known to the loader"; exit 1; }
chroot "$root" apt-get remove -y -qq viva >"$work/log" 2>&1
! chroot "$root" sh -c 'command -v viva' || { echo "the program stayed after its removal"; exit 1; }
rm -f "$root/tmp/viva.deb" "$root/tmp/tiny.gguf"
echo "installed, run and removed in $root"
