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
# shellcheck source=integration-tests/node.sh
source "$root/integration-tests/node.sh"

run_node issuers oidc_provider.mjs "${1:-${CARGO_TARGET_DIR:-$root/target}/debug/hearthgate}"
