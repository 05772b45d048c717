#!/usr/bin/env bash
# Builds the targets of the kit as OSS-Fuzz does: $OUT/TARGET, TARGET.dict, TARGET.options, TARGET_seed_corpus.zip; and
# $OUT/libfdring_fuzz.a, libfdring_fuzz.so, for parsers of your own (c/toy.c) and for Python. Nothing is downloaded that
# cargo does not need anyway; CARGO_NET_OFFLINE=true keeps it from that.
#
# FUZZING_ENGINE  what runs them, and so the instrumentation:
#     none        c/main.c, for any C compiler; no coverage (default)
#     libfuzzer   clang, or CC
#     afl         afl-clang-fast of AFL++, or CC
#     honggfuzz   hfuzz-clang, or CC
# OUT             where the results go (default: out, here)
# WORK            where cargo builds (default: $OUT/work)
# PROFILE         of cargo (default: release)
# CC, CFLAGS, LIB_FUZZING_ENGINE    as OSS-Fuzz sets them
# PARSER          another C file to build as a target, such as c/toy.c; relative to the current directory
# PARSER_LIBS     libraries that it needs, such as -L/home/me -lmine
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
engine=${FUZZING_ENGINE:-none}
mkdir -p "${OUT:=$here/out}"
OUT=$(cd "$OUT" && pwd)
work=${WORK:-$OUT/work}

# In one unit: with several, parts of the standard library that are instrumented do not find one another (AFL++).
counters="-Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cforce-frame-pointers=yes"
case $engine in
none) compiler=cc link=$here/c/main.c flags= ;;
libfuzzer)
    compiler=clang link=-fsanitize=fuzzer
    flags="$counters -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
    flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares"
    ;;
afl) compiler=afl-clang-fast link=-fsanitize=fuzzer flags="$counters -Cllvm-args=-sanitizer-coverage-trace-pc-guard" ;;
honggfuzz)
    compiler=hfuzz-clang link=
    flags="$counters -Cllvm-args=-sanitizer-coverage-trace-pc-guard -Cllvm-args=-sanitizer-coverage-trace-compares"
    ;;
*) echo "FUZZING_ENGINE is none, libfuzzer, afl or honggfuzz, and not $engine" >&2 && exit 2 ;;
esac
compiler=${CC:-$compiler}
link=${LIB_FUZZING_ENGINE-$link}

# The library for Python has no engine, and so no instrumentation.
types=staticlib
[ "$engine" != none ] || types=staticlib,cdylib
# Only with a target triple do the flags keep away from build scripts.
triple=$(rustc -vV | sed -n 's/^host: //p')
profile=${PROFILE:-release}
RUSTFLAGS="$flags -Cdebug-assertions=yes -Coverflow-checks=yes" cargo rustc --quiet --profile "$profile" --lib \
    --crate-type "$types" --manifest-path "$here/Cargo.toml" --target "$triple" --target-dir "$work"
built=$work/$triple/${profile/#dev/debug}
cp "$built/libfdring_fuzz.a" "$OUT/"
[ "$engine" != none ] || cp "$built/libfdring_fuzz.so" "$OUT/"

target() {
    # shellcheck disable=SC2086 # These are lists of words.
    $compiler -g -O1 ${CFLAGS:-} -I"$here/include" "$2" ${3:-} $link "$OUT/libfdring_fuzz.a" -o "$OUT/$1" \
        -lpthread -ldl -lm -lgcc_s
}
for name in cmsg_walk frame_parse; do
    target $name "$here/c/$name.c"
    cp "$here/dictionaries/$name.dict" "$OUT/"
    python3 - "$here/corpus/$name" "$OUT/${name}_seed_corpus.zip" <<'END'
import pathlib, sys, zipfile
with zipfile.ZipFile(sys.argv[2], "w", zipfile.ZIP_DEFLATED) as archive:
    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        archive.write(path, path.name)
END
done
printf '[libfuzzer]\nmax_len = 4096\n' >"$OUT/cmsg_walk.options"
# The longest frame has 65536 bytes; an Offer of 83 lanes more than the usual limit of 4096.
printf '[libfuzzer]\nmax_len = 66000\n' >"$OUT/frame_parse.options"
if [ -n "${PARSER:-}" ]; then
    target "$(basename "$PARSER" .c)" "$PARSER" "${PARSER_LIBS:-}"
fi
echo "built in $OUT"
