# Sourced: `need COMMAND PACKAGE WHY` notes what is missing, `install_needed` gets it with apt-get, asking nothing.
packages=()

need() {
    # Daemons live in sbin, which is not on everyone's PATH.
    if PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; then return; fi
    echo "missing: $1 ($2) - $3"
    packages+=("$2")
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

install_needed() {
    if [ ${#packages[@]} -eq 0 ]; then return; fi
    if ! command -v apt-get >/dev/null; then
        echo "This is no Debian or Ubuntu: please install by hand: ${packages[*]}" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "Neither root nor sudo: please run as root: apt-get install ${packages[*]}" >&2
        return 1
    fi
    echo "installing with apt-get: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local options=(-y -q --no-install-recommends)
    # The package lists may be old or absent (a fresh container): only then fetch them, it takes a while.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "${packages[@]}" </dev/null >/dev/null 2>&1 || {
        as_root apt-get update -q </dev/null >/dev/null
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "${packages[@]}" </dev/null
    }
}
