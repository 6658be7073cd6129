#!/bin/sh
# Every public header compiles alone, and twice, as C11 and as C++11, with pedantic warnings as errors; and the headers that
# C shares with CUDA as C++17, which is what CUDA sources are compiled as.
set -eu
include=$VIVA_SOURCE_DIR/include
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only"
count=0
for header in "$include"/viva/*.h; do
  name=viva/$(basename "$header")
  printf '#include "%s"\n#include "%s"\nint one_declaration;\n' "$name" "$name" >"$work/alone.c"
  cp "$work/alone.c" "$work/alone.cpp"
  ${CC:-cc} -std=c11 $warnings -I"$include" "$work/alone.c" || { echo "$name: not alone as C11"; exit 1; }
  c++ -std=c++11 $warnings -I"$include" "$work/alone.cpp" || { echo "$name: not alone as C++11"; exit 1; }
  count=$((count + 1))
done
for name in number/layout.h number/number.h; do
  printf '#include "%s"\nint one_declaration;\n' "$name" >"$work/shared.cpp"
  c++ -std=c++17 -Wall -Wextra -Werror -fsyntax-only -I"$VIVA_SOURCE_DIR/src" -I"$include" "$work/shared.cpp" ||
    { echo "$name: not C++17"; exit 1; }
done
echo "$count headers"
