# Recipes for daily work; `.ci/run` is what decides.

default:
    @just --list

# Start from the shipped config.
run *arguments:
    cargo run --release -- run {{arguments}}

fmt:
    cargo fmt

lint:
    cargo clippy --all-targets -- -D warnings
    cargo clippy --features kafka --all-targets -- -D warnings

test *arguments:
    cargo test {{arguments}}

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

deny:
    cargo deny check

# Every config that we ship, with the program's own check.
check-config:
    .ci/run configs

# Against nginx and HAProxy of this machine: about ten minutes.
bench *arguments:
    tests/bench/compare {{arguments}}

# What each step of a plain request costs, beside its budget.
budget *arguments:
    cargo bench --bench budget -- {{arguments}}

# The binary to give out, optimised with a profile of itself under load: a quarter of an hour.
dist *arguments:
    .ci/dist {{arguments}}

# Half an hour of mixed load.
soak *arguments:
    cargo build --release
    tests/soak/mixed.py {{arguments}}

# What the log promises, proven from outside: a quarter of an hour of deaths, then disks, failing calls, damage, clocks.
crash *arguments:
    cargo build --release
    tests/crash/kill9.py {{arguments}}
    tests/crash/compact.py
    tests/crash/away.py
    tests/crash/torn.py
    tests/crash/faults.py
    sudo tests/crash/disk.py
    tests/crash/clock.py

# The log's Parquet files in DuckDB, pyarrow and ClickHouse, with bytes per row.
store:
    .ci/run store

# Each sink and input of the log against programs that people have.
peers:
    .ci/run peers

# One target for as long as you like; what it finds is kept in tests/fuzz/artifacts, what it learns in tests/fuzz/corpus.
fuzz target seconds="300":
    mkdir -p tests/fuzz/corpus/{{target}} tests/fuzz/artifacts
    RUSTC_WRAPPER=$PWD/tests/fuzz/instrument cargo build --manifest-path tests/fuzz/Cargo.toml --target-dir tests/fuzz/target
    tests/fuzz/target/debug/{{target}} -max_total_time={{seconds}} -artifact_prefix=tests/fuzz/artifacts/ tests/fuzz/corpus/{{target}} \
        $(ls -d tests/fuzz/seeds/{{target}} 2>/dev/null)

# The log's ring between its two threads, in every order that the memory model allows.
loom:
    cargo test --release --manifest-path tests/loom/Cargo.toml

# The log's ring where each step over the end of its memory is seen, and what a record costs the core in instructions.
ring:
    .ci/run asan count

ci *steps:
    .ci/run {{steps}}
