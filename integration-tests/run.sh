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
    for script in deploy/*.sh integration-tests/*.sh integration-tests/*/run.sh .ci/run; do
        bash -n "$script" || return
    done
}

# One build for all tests. It also makes the program that the black-box tests run.
build_tests() {
    cargo test --workspace --locked --no-run
}

# For the backend in PostgreSQL, whose tests begin a cluster of their own.
install_postgresql() {
    local -a missing=()
    compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || missing+=(postgresql)
    command -v openssl >/dev/null || missing+=(openssl)
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

# For the counters that gateways share, whose tests begin servers of their own.
install_redis() {
    command -v redis-server >/dev/null || command -v valkey-server >/dev/null ||
        apt_install redis-server
}

# For the clients that others wrote, which are left out where there is neither.
install_clients() {
    local -a missing=()
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || return 0
    apt_install "${missing[@]}" || printf 'Not installed: %s.\n' "${missing[*]}"
}

run_tests() {
    cargo test --workspace --locked
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --locked --no-deps
}

# Not a step, for set -e to hold within it.
install_packages
install_postgresql
install_redis
install_clients
install_rust clippy rustfmt
# Without PostgreSQL its tests fail then, instead of being skipped.
export HEARTHGATE_REQUIRE_POSTGRES=1
# And without Redis or Valkey those of shared counters.
export HEARTHGATE_REQUIRE_REDIS=1

step "scripts" scripts_parse
step "format" cargo fmt --all --check
step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
step "build" build_tests
step "tests" run_tests
step "clients" integration-tests/clients/run.sh
step "issuers" integration-tests/issuers/run.sh
step "foreign" integration-tests/foreign/run.sh
step "documentation" documentation
step "quickstart" deploy/quickstart.sh --check

printf '%s\n' '' "${timings[@]}"
printf '%5d s  all %d steps passed\n' "$SECONDS" "${#timings[@]}"
