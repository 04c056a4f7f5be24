#!/usr/bin/env bash
# Builds Hearthgate and starts a clinic on this machine alone, with made-up patients in it.
# For a new Debian or Ubuntu machine; what is missing is installed (deploy/lib.sh).
set -euo pipefail
umask 077

# shellcheck source=deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'TEXT'
usage: deploy/quickstart.sh [--data DIR] [--listen HOST:PORT] [--admin HOST:PORT]
       deploy/quickstart.sh --check

  --data DIR           where the clinic's data is kept (./hearthgate-clinic/data)
  --listen HOST:PORT   where clients connect (127.0.0.1:8080)
  --admin HOST:PORT    metrics and readiness (127.0.0.1:9090)
  --check              start a clinic in a temporary directory on free ports, run the printed
                       commands, stop it, and leave nothing behind
TEXT
}

data=./hearthgate-clinic/data
listen=127.0.0.1:8080
admin=127.0.0.1:9090
mode=start

while (($#)); do
    case $1 in
        --data | --listen | --admin)
            (($# > 1)) || fail "$1 takes a value"
            printf -v "${1#--}" '%s' "$2"
            shift 2
            ;;
        --check)
            mode=check
            shift
            ;;
        --help | -h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done

readonly program=${CARGO_TARGET_DIR:-$root/target}/release/hearthgate

# As a word of a command that is to be pasted.
word() {
    printf '%q' "$1"
}

# Whether a process has the data directory $1: the kernel knows, whatever files stayed behind.
is_running() {
    local status=0
    [[ -e $1/lock ]] || return 1
    flock --nonblock --shared "$1/lock" true || status=$?
    # What flock says of a lock that another has; anything else is another fault.
    ((status == 1))
}

holder() {
    sed -n 's/^pid \([0-9]*\).*/\1/p' "$1/lock"
}

say_running() {
    local pid
    pid=$(holder "$data")
    cat <<TEXT
A clinic is running on $data already, as process $pid:

  $(xargs -0 printf '%q ' <"/proc/$pid/cmdline")

Its owner's key was shown at its first start and is kept nowhere. To make another:

  $(word "$program") keys create --data $(word "$data") --client owner

To stop it:

  kill $pid
TEXT
}

# Said before minutes of building; the clinic itself says it too.
check_port() {
    local flag=$1 address=$2
    local port=${address##*:}
    if ((port != 0)) && (exec 3<>"/dev/tcp/${address%:*}/$port") 2>/dev/null; then
        fail "another program listens on $address; stop it, or name another address with $flag"
    fi
}

build() {
    install_packages
    # shellcheck disable=SC2119 # no components needed
    install_rust
    printf 'Building (minutes, the first time).\n'
    (cd "$root" && cargo build --release --locked --package hearthgate)
}

# What the clinic said since it was started.
said() {
    tail -c "+$((said_before + 1))" "$log"
}

# Starts the clinic in the background; sets pid, base and metrics.
start() {
    mkdir -p "$data/logs"
    log=$data/logs/clinic.log
    touch "$log"
    said_before=$(stat -c %s "$log")
    nohup "$program" serve --data "$data" --listen "$listen" --admin "$admin" \
        --owner-key-file "$key_file" </dev/null >>"$data/logs/access.log" 2>>"$log" &
    pid=$!
    # Until everything is done, whatever fails stops the clinic too.
    trap 'kill "$pid" 2>/dev/null || true' EXIT
    local until=$((SECONDS + 120)) line=
    while :; do
        line=$(said | grep '^Hearthgate answers at ' || true)
        if [[ -n $line ]]; then
            base=${line#Hearthgate answers at }
            base=${base%% *}
            metrics=${line##*: }
            metrics=${metrics%)}
            curl -fs -o "$data/logs/ready" "$metrics/readyz" && break
        fi
        if ! kill -0 "$pid" 2>/dev/null; then
            said >&2
            fail "the clinic did not start; it says why above"
        fi
        if ((SECONDS > until)); then
            said >&2
            fail "the clinic is not ready after two minutes; its last words are above"
        fi
        sleep 0.1
    done
    rm -f -- "$data/logs/ready"
}

# The key belongs to whoever reads the terminal, and in no log. The file is open for appending,
# so the clinic goes on writing behind what is put back here.
take_key_out_of_log() {
    local rest
    rest=$(grep -vF -- "$1" "$log" || true)
    printf '%s\n' "$rest" >"$log"
}

first_time() {
    local key
    key=$(<"$key_file")
    take_key_out_of_log "$key"
    "$program" demo-data --out "$data/logs/demo-data.ndjson"
    "$program" import "$data/logs/demo-data.ndjson" --url "$base" --key-file "$key_file"
    rm -f -- "$data/logs/demo-data.ndjson" "$key_file"
    cat <<TEXT

The clinic is running, with 50 made-up patients.

  FHIR base              $base
  metrics and readiness  $metrics/metrics, $metrics/readyz
  data                   $data
  logs                   $data/logs

The owner's key may do everything. It is shown this once and kept nowhere:

  $key

To see what the server can do, to read a patient, and to record an observation:

  curl -sS '$base/metadata?_pretty=true'
  curl -sS -H 'Authorization: Bearer $key' '$base/Patient/demo-1?_pretty=true'
  curl -sS -H 'Authorization: Bearer $key' -H 'Content-Type: application/fhir+json' -d '{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"72514-3"}],"text":"Pain, 0 to 10"},"subject":{"reference":"Patient/demo-1"},"valueInteger":3}' '$base/Observation?_pretty=true'

To stop it, to start it again, and to make another key:

  kill $pid
  $(word "$root/deploy/quickstart.sh") --data $(word "$data") --listen $listen --admin $admin
  $(word "$program") keys create --data $(word "$data") --client owner
TEXT
}

say_restarted() {
    cat <<TEXT

The clinic is running again, with the data it had.

  FHIR base              $base
  metrics and readiness  $metrics/metrics, $metrics/readyz
  data                   $data
  logs                   $data/logs

Its owner's key was shown at its first start and is kept nowhere. To stop it, and to make another
key:

  kill $pid
  $(word "$program") keys create --data $(word "$data") --client owner
TEXT
}

run() {
    data=$(realpath -m -- "$data")
    if is_running "$data"; then
        say_running
        return
    fi
    check_port --listen "$listen"
    check_port --admin "$admin"
    build
    # There from the first start until its key was shown, also when that start was broken off.
    key_file=$data/owner-key
    # An empty one is of a start that ended before there was an owner.
    [[ -s $key_file ]] || rm -f -- "$key_file"
    start
    if [[ -s $key_file ]]; then
        first_time
    else
        say_restarted
    fi
    trap - EXIT
}

# Everything above as a user does it: what is printed is what is run.
check() {
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of now
    trap "clean_up '$work'" EXIT
    local script=$root/deploy/quickstart.sh clinic=$work/data out=$work/out
    "$script" --data "$clinic" --listen 127.0.0.1:0 --admin 127.0.0.1:0 | tee "$out"

    local -a lines expected=(
        '"resourceType": "CapabilityStatement"'
        '"id": "demo-1"'
        '"valueInteger": 3'
    )
    mapfile -t lines < <(sed -n 's/^  \(curl .*\)/\1/p' "$out")
    ((${#lines[@]} == ${#expected[@]})) || fail "expected ${#expected[@]} curl lines, got ${#lines[@]}"
    local at answer
    for at in "${!lines[@]}"; do
        answer=$(bash -c "${lines[at]}") || fail "curl line $((at + 1)) failed"
        [[ $answer == *"${expected[at]}"* ]] ||
            fail "the answer to curl line $((at + 1)) has no ${expected[at]}: $answer"
    done

    local key
    key=$(sed -n 's/^  \(hg_.*\)/\1/p' "$out")
    [[ -n $key ]] || fail "no key was printed"
    ! grep -rqF -- "$key" "$clinic" || fail "the owner's key was left in the clinic's files"
    "$script" --data "$clinic" >"$out.again"
    grep -q 'running on .* already' "$out.again" || fail "a second run does not say that the clinic runs"

    eval "$(sed -n 's/^  \(kill .*\)/\1/p' "$out")"
    flock --wait 60 "$clinic/lock" true || fail "the clinic did not stop within a minute"
    printf '\nquickstart: %d curl lines worked, the clinic ran and stopped.\n' "${#lines[@]}"
}

clean_up() {
    local clinic=$1/data
    if is_running "$clinic"; then
        kill "$(holder "$clinic")" || true
        flock --wait 60 "$clinic/lock" true || true
    fi
    rm -rf -- "$1"
}

if [[ $mode == check ]]; then
    check
else
    run
fi
