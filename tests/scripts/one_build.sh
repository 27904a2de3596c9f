#!/usr/bin/env bash
# Whether `cargo run --release` and `cargo test --release --features gui --tests` share one build of everything below this
# crate. A feature that only one of them switches on changes the crate and every crate above it, which takes many minutes to
# compile a second time. Prints the crates whose features differ, as the program alone has them; their features belong into the
# list in Cargo.toml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

host="$(rustc -vV | sed -n 's/^host: //p')"
features() {
    cargo tree --locked --target "$host" --edges "$1" "${@:2}" --format '{p} {f}' --prefix none | sed 's/ (\*)$//' |
        grep -v '^odyssey ' | sort -u
}

differ="$(comm -23 <(features normal,build) <(features normal,build,dev --features gui))"
if [[ -n $differ ]]; then
    echo "The program and the tests build these crates with other features:" >&2
    echo "$differ" >&2
    exit 1
fi
