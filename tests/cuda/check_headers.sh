#!/bin/sh
# Compiles test_headers.cu and runs its host's half:   tests/cuda/check_headers.sh COMPILER [OPTION...]
# COMPILER is nvcc, or a C++ compiler, which gets it as plain C++. CC compiles the C side. Exit code 77: there is no such compiler.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$(dirname "$here")")
compiler=$1
shift
command -v "$compiler" >/dev/null || { echo "no $compiler here"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
case $(basename "$compiler") in
  nvcc*) set -- --Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror,-Wno-missing-field-initializers "$@" ;;
  *) set -- -x c++ -Wall -Wextra -Werror -Wno-missing-field-initializers "$@" ;;
esac
includes="-I$source/include -I$source/src"
${CC:-cc} -std=c11 $includes -c -o "$folder/codes.o" "$here/codes.c"
"$compiler" -std=c++17 "$@" $includes -c -o "$folder/headers.o" "$here/test_headers.cu"
"$compiler" -o "$folder/headers" "$folder/headers.o" "$folder/codes.o"
"$folder/headers"
