#!/usr/bin/env bash
# Every check that this repository has, from a machine that has nothing (Debian or Ubuntu).
# HEARTHGATE_TEST_DATA names a folder of larger test data; tests that need it say when it is absent.
set -euo pipefail

# shellcheck source=deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../deploy/lib.sh"
cd "$root"

declare -a timings=()

# Runs a command as a step with a name; the first that fails ends the run.
step() {
    local name=$1 began=$SECONDS status=0
    shift
    printf '\n== %s\n' "$name"
    "$@" || status=$?
    timings+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
    if ((status)); then
        printf '%s\n' '' "${timings[@]}" "failed: $name (status $status)"
        exit 1
    fi
}

scripts_parse() {
    local script
    for script in deploy/*.sh integration-tests/run.sh .ci/run; do
        bash -n "$script" || return
    done
}

# One build for all tests. It also makes the program that the black-box tests run.
build_tests() {
    cargo test --workspace --locked --no-run
}

run_tests() {
    cargo test --workspace --locked
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps
}

# Not a step, for set -e to hold within it.
install_packages
install_rust clippy rustfmt

step "scripts" scripts_parse
step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "build" build_tests
step "tests" run_tests
step "documentation" documentation
step "quickstart" deploy/quickstart.sh --check

printf '%s\n' '' "${timings[@]}"
printf '%5d s  all %d steps passed\n' "$SECONDS" "${#timings[@]}"
