#!/bin/sh
# Runs every fuzz target for some seconds (20 unless told otherwise), starting from its corpus, which stays as it is. What
# breaks a target is left in artifacts/, and this fails; put it into the corpus with the repair: tests/corpus.rs tries all
# of it with the ordinary tests.
#
# cargo-fuzz is not needed: coverage comes from codegen options that a stable compiler has.
set -eu
cd "$(dirname "$0")"
seconds=${1:-20}
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS
cargo build --release --target "$host" --bins
mkdir -p artifacts
for target in rpc tarball monitrc; do
    new=$(mktemp -d)
    echo "== $target"
    "target/$host/release/$target" "$new" "corpus/$target" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
        -artifact_prefix="artifacts/$target-" -verbosity=0 -print_final_stats=1
    rm -rf "$new"
done
