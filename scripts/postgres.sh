# Sourced: `start_postgres` starts a throw-away PostgreSQL on a free loopback port and exports TRUNKLINE_TEST_POSTGRES;
# `stop_postgres` ends it and removes it. Without PostgreSQL nothing happens, and its test says that it was skipped.
postgres_folder=

# PostgreSQL refuses to run as root; Debian's package brings a user for it.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

start_postgres() {
    local bin port
    bin=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -1 | xargs -r dirname) || bin=
    [ -n "$bin" ] || return 0
    postgres_folder=$(mktemp -d)
    if [ "$(id -u)" -eq 0 ]; then chown postgres "$postgres_folder"; fi
    as_postgres "$bin/initdb" -D "$postgres_folder/data" -A trust -U trunkline --no-sync -E UTF8 >/dev/null
    for _ in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 10000))
        as_postgres "$bin/pg_ctl" -D "$postgres_folder/data" -l "$postgres_folder/log" -w -t 30 \
            -o "-p $port -k $postgres_folder -c listen_addresses=127.0.0.1 -c fsync=off" start >/dev/null 2>&1 && break
        port=
    done
    [ -n "$port" ] || { cat "$postgres_folder/log" >&2; return 1; }
    export TRUNKLINE_TEST_POSTGRES="postgres://trunkline@127.0.0.1:$port/postgres"
    postgres_bin=$bin
}

stop_postgres() {
    [ -n "$postgres_folder" ] || return 0
    as_postgres "$postgres_bin/pg_ctl" -D "$postgres_folder/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$postgres_folder"
}
