#!/bin/sh
# Writes the fuzzer's seeds, tests/fuzz/corpus/container/: small containers of every kind, made by the program.
#   sh tests/mk/mkcontainer.sh PATH/TO/viva
set -eu
viva=$1
to=$(cd "$(dirname "$0")/.." && pwd)/fuzz/corpus/container
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$to"
python3 - "$work" <<'END'
import struct, sys
values = [((i * 37) % 101) / 50 - 1 for i in range(100)]
open(sys.argv[1] + "/x.f32", "wb").write(struct.pack("<100f", *values))
values[20], values[70] = float("nan"), float("inf")
open(sys.argv[1] + "/bad.f32", "wb").write(struct.pack("<100f", *values))
END
# The first byte: how many records get their checksums before the target opens the file.
seed() { name=$1; shift; "$viva" compress "$@" -q -o "$work/c"; { printf '\377'; cat "$work/c"; } >"$to/$name"; }
seed nvfp4 "$work/x.f32"
seed affine "$work/x.f32" --codec affine --bits 5 --block 24 --segment 48
seed symmetric "$work/x.f32" --codec affine --bits 8 --block 32 --symmetric
seed mixed "$work/x.f32" --codec affine --max-error 0.5 --bound fit-blocks
seed halves "$work/x.f32" --max-error 0.01 --bound fit
seed raw "$work/x.f32" --max-error 0.01 --bound raw
seed nonfinite "$work/bad.f32" --keep-nonfinite
seed two "$work/x.f32" "$work/x.f32" --codec adaptive
"$viva" compress - -o "$work/c" -q <"$work/x.f32" && { printf '\377'; cat "$work/c"; } >"$to/stream"
