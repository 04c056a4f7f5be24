#!/usr/bin/env bash
# Puts the gateway alone before FHIR servers of others, and prints a line per check. The one that is
# not a stub is pinned here, with hashes, and fetched to target/foreign. What this machine cannot
# run, or cannot fetch, is skipped with the reason.
#
# usage: integration-tests/foreign/run.sh [PROGRAM]
#   PROGRAM   the hearthgate to run (target/debug/hearthgate)
set -euo pipefail
umask 077

# shellcheck source=deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=integration-tests/node.sh
source "$root/integration-tests/node.sh"

run_node foreign foreign.mjs "${1:-${CARGO_TARGET_DIR:-$root/target}/debug/hearthgate}"
