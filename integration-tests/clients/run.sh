#!/usr/bin/env bash
# Lets public client libraries use a clinic of sample patients through its gateway: each script is
# one library, and prints a line per check. The libraries are pinned here, with hashes, and fetched
# to target/clients. What this machine cannot run, or cannot fetch, is skipped with the reason.
#
# usage: integration-tests/clients/run.sh [PROGRAM]
#   PROGRAM   the hearthgate to run (target/debug/hearthgate)
set -euo pipefail
umask 077

# shellcheck source=deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../deploy/lib.sh"
# shellcheck source=integration-tests/node.sh
source "$root/integration-tests/node.sh"

readonly scripts=$root/integration-tests/clients
readonly target=${CARGO_TARGET_DIR:-$root/target}
readonly program=${1:-$target/debug/hearthgate}
readonly fetched=$target/clients

skip() {
    printf 'skipped: %s\n' "$1"
}

# Whether $1, a version, is at least $2.
at_least() {
    [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# As fetch_node, of Python.
fetch_python() {
    local to=$fetched/python log=$fetched/pip.log
    mkdir -p "$fetched"
    cmp -s -- "$scripts/requirements.txt" "$to/fetched.txt" && return 0
    python3 -m venv --clear "$to"
    local -a pip=("$to/bin/pip" --disable-pip-version-check --retries 1 --timeout 15)
    if ! "${pip[@]}" install --require-hashes --only-binary :all: \
        -r "$scripts/requirements.txt" >"$log" 2>&1; then
        "${pip[@]}" download --no-deps --dest "$to" idna >>"$log" 2>&1 || return 1
        cat "$log" >&2
        fail "pip reaches its index and does not install what is pinned"
    fi
    cp -- "$scripts/requirements.txt" "$to/fetched.txt"
}

# What can be run here: a program that reads scripts, and a script, in turn.
declare -a offered=()

# Offers the scripts in $2 that end in $3, and the examples in this language ($4) of docs/clients.md:
# each is followed by what it prints.
offer() {
    local reader=$1 in=$2 ending=$3 language=$4 script
    rm -f -- "$in"/example_*
    awk -v start="\`\`\`$language run" -v to="$in/example_" -v ending=".$ending" '
        $0 == start { state = "script"; count += 1; file = to count ending; next }
        $0 == "```text" && state == "end" { state = "expected"; file = to count ".expected"; next }
        $0 == "```" { state = state == "script" ? "end" : ""; next }
        state == "script" || state == "expected" { print > file }
    ' "$root/docs/clients.md"
    for script in "$in"/js_*."$ending" "$in"/py_*."$ending" "$in"/example_*."$ending"; do
        [[ ! -e $script ]] || offered+=("$reader" "$script")
    done
}

# Runs a script; of an example, compares what it prints.
run() {
    local reader=$1 script=$2 expected=${2%.*}.expected
    printf '\n-- %s\n' "${script##*/}"
    if [[ -e $expected ]]; then
        "$reader" "$script" | diff "$expected" - && printf 'ok      as docs/clients.md says\n'
    else
        "$reader" "$script"
    fi
}

offer_node() {
    local lacks
    lacks=$(node_lacks)
    [[ -z $lacks ]] || { skip "JavaScript: $lacks"; return; }
    # Their peers and options are for telephones.
    fetch_node "$scripts" "$fetched/node" --legacy-peer-deps --omit=optional ||
        { skip "JavaScript: the registry of npm cannot be reached"; return; }
    offer node "$fetched/node" mjs js
}

offer_python() {
    local version
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        { skip "Python: there is no python3 with venv"; return; }
    version=$(python3 -c 'import platform; print(platform.python_version())')
    at_least "$version" 3.11 || { skip "Python: $version is older than 3.11"; return; }
    fetch_python || { skip "Python: the index of packages cannot be reached"; return; }
    cp -- "$scripts"/*.py "$fetched/python"
    offer "$fetched/python/bin/python" "$fetched/python" py python
}

# Starts a clinic with the sample patients; sets pid, FHIR_BASE and FHIR_KEY.
start() {
    "$program" serve --data "$work/data" --listen 127.0.0.1:0 --admin 127.0.0.1:0 \
        --owner-key-file "$work/key" </dev/null >"$work/access.log" 2>"$work/log" &
    pid=$!
    local until=$((SECONDS + 60))
    until grep -q '^Hearthgate answers at ' "$work/log"; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS > until)); then
            cat "$work/log" >&2
            fail "the clinic did not start; it says why above"
        fi
        sleep 0.1
    done
    FHIR_BASE=$(sed -n 's/^Hearthgate answers at \([^ ]*\).*/\1/p' "$work/log")
    FHIR_KEY=$(<"$work/key")
    export FHIR_BASE FHIR_KEY
    "$program" demo-data --out "$work/patients.ndjson"
    "$program" import "$work/patients.ndjson" --url "$FHIR_BASE" --key-file "$work/key"
}

clean_up() {
    if [[ -n $pid ]]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    rm -rf -- "$work"
}

offer_node
offer_python
((${#offered[@]})) || exit 0
work=$(mktemp -d) pid=
trap clean_up EXIT
start
failed=0
for ((at = 0; at < ${#offered[@]}; at += 2)); do
    run "${offered[@]:at:2}" || failed=1
done
((!failed)) || fail "a client did not find what it should"
