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

# Half an hour of mixed load.
soak *arguments:
    cargo build --release
    tests/soak/mixed.py {{arguments}}

# One target with coverage feedback and sanitizers; needs nightly and cargo-fuzz.
fuzz target seconds="300":
    cargo +nightly fuzz run --fuzz-dir tests/fuzz {{target}} -- -max_total_time={{seconds}}

ci *steps:
    .ci/run {{steps}}
