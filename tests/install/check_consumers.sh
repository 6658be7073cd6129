#!/bin/sh
# Installs into an empty folder, moves it, and builds and runs a C and a C++ client against it: with pkg-config and with
# find_package, shared and static. Then the installed program, manual page and completion.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ -z "${VIVA_SANITIZE:-}" ] || { echo "skipped: clients of a sanitizer build need its runtime"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cmake --install "$VIVA_BUILD_DIR" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/prefix" # installed trees may be moved
prefix=$work/prefix
pc=$(find "$prefix" -name viva.pc)
lib=$(dirname "$(find "$prefix" -name libviva.a)")
export PKG_CONFIG_PATH="$(dirname "$pc")"
for file in "$lib/libviva.so" "$lib/libviva.so.0" "$prefix/include/viva/viva.h" "$prefix/bin/viva" \
  "$prefix/share/man/man1/viva.1" "$prefix/share/bash-completion/completions/viva"; do
  [ -e "$file" ] || { echo "not installed: ${file#"$prefix"/}"; exit 1; }
done

run() { # NAME COMMAND...
  name=$1
  shift
  output=$(LD_LIBRARY_PATH=$lib "$@") || { echo "$name failed: $output"; exit 1; }
  echo "$name: $output"
}
coverage=
[ "${VIVA_COVERAGE:-OFF}" = OFF ] || coverage=--coverage
cc=${CC:-cc}

echo "== pkg-config"
$cc -std=c11 -Wall -Werror "$here/consumer.c" -o "$work/c_shared" $(pkg-config --cflags --libs viva) $coverage
c++ -std=c++11 -Wall -Werror "$here/consumer.cpp" -o "$work/cpp_shared" $(pkg-config --cflags --libs viva) $coverage
# -l:libviva.a takes the archive where both lie; --static adds what it needs.
static=$(pkg-config --static --libs viva | sed 's/-lviva/-l:libviva.a/')
$cc -std=c11 -Wall -Werror "$here/consumer.c" -o "$work/c_static" $(pkg-config --cflags viva) $static $coverage
c++ -std=c++11 -Wall -Werror "$here/consumer.cpp" -o "$work/cpp_static" $(pkg-config --cflags viva) $static $coverage
for name in c_shared cpp_shared c_static cpp_static; do run $name "$work/$name"; done
ldd "$work/c_shared" | grep -q 'libviva\.so\.0' || { echo "c_shared does not use libviva.so.0"; exit 1; }
! ldd "$work/c_static" | grep -q libviva || { echo "c_static uses libviva.so"; exit 1; }

echo "== find_package"
mkdir "$work/cmake"
cp "$here/consumer.c" "$here/consumer.cpp" "$work/cmake/"
cp "$here/consumer.cmake" "$work/cmake/CMakeLists.txt"
cmake -S "$work/cmake" -B "$work/cmake/build" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
  -DCMAKE_C_FLAGS="$coverage" -DCMAKE_CXX_FLAGS="$coverage" >"$work/log" 2>&1 &&
  cmake --build "$work/cmake/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
for name in viva_consumer_c viva_consumer_cpp viva_static_consumer_c viva_static_consumer_cpp; do
  run $name "$work/cmake/build/$name"
done

! "${READELF:-readelf}" -S "$prefix/bin/viva" | grep -q '\.debug_info' || { echo "the installed program is not stripped"; exit 1; }
echo "== program"
run version "$prefix/bin/viva" --version
