# shellcheck shell=bash
# What a new Debian or Ubuntu machine needs to build Hearthgate, and how it gets it.
# Sourced by deploy/quickstart.sh and integration-tests/run.sh; by itself it does nothing.

# The repository.
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "installing packages takes root: run as root, install sudo, or have these installed first: ${missing[*]}"
    fi
}

# Installs Debian packages; the lists of what there is are fetched once.
apt_install() {
    local -a missing=("$@")
    command -v apt-get >/dev/null ||
        fail "this machine has no apt-get; install by hand: ${missing[*]}"
    printf 'Installing %s.\n' "${missing[*]}"
    [[ -n ${apt_updated-} ]] || as_root apt-get update -q
    apt_updated=1
    # Without a run level no service of theirs is started.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# curl and its certificates, a C compiler with make, and cmake (for the zlib that pingora stands on).
install_packages() {
    local -a missing=()
    command -v curl >/dev/null || missing+=(curl)
    [[ -s /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
    { command -v cc && command -v make; } >/dev/null || missing+=(build-essential)
    command -v cmake >/dev/null || missing+=(cmake)
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

# The oldest Rust that builds the workspace.
required_rust() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$root/Cargo.toml"
}

# Whether cargo is there and at least version $1.
has_cargo() {
    local version
    version=$(cd "$root" && cargo --version 2>/dev/null) || return 1
    version=${version#cargo }
    version=${version%%[ -]*}
    [[ $(printf '%s\n' "$1" "$version" | sort -V | head -n 1) == "$1" ]]
}

# A Rust toolchain, with the components named. One that is there and new enough is used as it is.
install_rust() {
    local required component
    required=$(required_rust)
    local cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin
    [[ ! -d $cargo_bin || :$PATH: == *:$cargo_bin:* ]] || PATH=$cargo_bin:$PATH
    if ! has_cargo "$required"; then
        if ! command -v rustup >/dev/null; then
            printf 'Installing rustup.\n'
            local installer
            installer=$(mktemp)
            curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs -o "$installer"
            sh "$installer" -y --quiet --no-modify-path --profile minimal \
                --default-toolchain "$required"
            rm -f -- "$installer"
            PATH=$cargo_bin:$PATH
        fi
        # The toolchain for this repository alone; the account's default stays as it is.
        rustup toolchain install "$required" --profile minimal
        export RUSTUP_TOOLCHAIN=$required
        has_cargo "$required" || fail "there is still no cargo $required after installing it"
    fi
    export PATH
    for component in "$@"; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null ||
            fail "cargo has no $component; install it beside the cargo at $(command -v cargo)"
        rustup component add "$component"
    done
}
