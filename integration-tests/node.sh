# shellcheck shell=bash
# Running scripts of node whose libraries are pinned beside them, with hashes. Sourced by the run.sh
# of clients, foreign and issuers, after deploy/lib.sh; by itself it does nothing.

# Why there is no node that runs the scripts, or nothing.
node_lacks() {
    local version
    command -v node npm >/dev/null || { printf 'there is no node or no npm'; return; }
    version=$(node --version)
    [[ $(printf 'v20.0\n%s\n' "$version" | sort -V | head -n 1) == v20.0 ]] ||
        printf 'node %s is older than 20' "$version"
}

# Copies the scripts of folder $1 to folder $2 and fetches what they stand on, unless it is there;
# further arguments go to npm. Fails when what came is not what is pinned; returns 1 when nothing
# comes.
fetch_node() {
    local scripts=$1 to=$2
    shift 2
    mkdir -p "$to"
    cp -- "$scripts"/*.mjs "$scripts/package.json" "$to"
    cmp -s -- "$scripts/package-lock.json" "$to/fetched.json" && return 0
    cp -- "$scripts/package-lock.json" "$to"
    local -a npm=(npm --prefix "$to" --fetch-retries=1 --fetch-timeout=20000)
    if ! "${npm[@]}" ci --ignore-scripts --no-audit --no-fund "$@" >"$to/npm.log" 2>&1; then
        "${npm[@]}" ping >>"$to/npm.log" 2>&1 || return 1
        cat "$to/npm.log" >&2
        fail "npm reaches its registry and does not install what is pinned"
    fi
    cp -- "$to/package-lock.json" "$to/fetched.json"
}

# Runs script $2 of folder $1 with program $3 and a directory that is removed after; says why where
# it cannot.
run_node() {
    local folder=$1 script=$2 program=$3 lacks
    local fetched=${CARGO_TARGET_DIR:-$root/target}/$folder
    lacks=$(node_lacks)
    if [[ -z $lacks ]] && ! fetch_node "$root/integration-tests/$folder" "$fetched"; then
        lacks="the registry of npm cannot be reached"
    fi
    if [[ -n $lacks ]]; then
        printf 'skipped: %s\n' "$lacks"
        return 0
    fi
    work=$(mktemp -d)
    trap 'rm -rf -- "$work"' EXIT
    timeout 180 node "$fetched/$script" "$program" "$work"
}
