#!/usr/bin/env bash
# Lets a clinic accept the tokens of an issuer that others wrote, and prints a line per check. The
# issuer is pinned here, with hashes, and fetched to target/issuers. What this machine cannot run,
# or cannot fetch, is skipped with the reason.
#
# usage: integration-tests/issuers/run.sh [PROGRAM]
#   PROGRAM   the hearthgate to run (target/debug/hearthgate)
set -euo pipefail
umask 077

# shellcheck source=deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../deploy/lib.sh"

readonly scripts=$root/integration-tests/issuers
readonly target=${CARGO_TARGET_DIR:-$root/target}
readonly program=${1:-$target/debug/hearthgate}
readonly fetched=$target/issuers

skip() {
    printf 'skipped: %s\n' "$1"
    exit 0
}

# Fetches the issuer, unless it is there. Fails when what came is not what is pinned; returns 1
# when nothing comes.
fetch() {
    mkdir -p "$fetched"
    cp -- "$scripts"/*.mjs "$scripts/package.json" "$fetched"
    cmp -s -- "$scripts/package-lock.json" "$fetched/fetched.json" && return 0
    cp -- "$scripts/package-lock.json" "$fetched"
    local -a npm=(npm --prefix "$fetched" --fetch-retries=1 --fetch-timeout=20000)
    if ! "${npm[@]}" ci --ignore-scripts --no-audit --no-fund >"$fetched/npm.log" 2>&1; then
        "${npm[@]}" ping >>"$fetched/npm.log" 2>&1 || return 1
        cat "$fetched/npm.log" >&2
        fail "npm reaches its registry and does not install what is pinned"
    fi
    cp -- "$fetched/package-lock.json" "$fetched/fetched.json"
}

command -v node npm >/dev/null || skip "there is no node or no npm"
version=$(node --version)
[[ $(printf 'v20.0\n%s\n' "$version" | sort -V | head -n 1) == v20.0 ]] ||
    skip "node $version is older than 20"
fetch || skip "the registry of npm cannot be reached"
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
timeout 120 node "$fetched/oidc_provider.mjs" "$program" "$work"
