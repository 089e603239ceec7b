#!/usr/bin/env bash
# Builds the binary of the image. `deploy/build.sh --help` tells more.
set -euo pipefail

usage() {
  cat <<'END'
usage: deploy/build.sh OUT      builds driftd into the file OUT: without any library beside it, without symbols, and the same bytes
                                from the same sources, compiler and C library, whatever the folders are called

Takes a C compiler and the static C library (Debian: gcc libc6-dev). CARGO_TARGET_DIR says where it builds.
END
}

case "${1:-}" in
  --help | -h)
    usage
    exit
    ;;
  "" | -*)
    usage >&2
    exit 2
    ;;
esac
mkdir -p "$(dirname "$1")"
out=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target/image}

# The GNU C library, linked statically, and not musl: all our figures were measured with its allocator, and any Rust compiler can link it
# without another target. Names are looked up by what is inside of it (files and DNS): tests/image/run proves it.
target=$(rustc -vV | sed -n 's/^host: //p')
[[ $target == *-linux-gnu ]] || {
  echo "deploy/build.sh: the compiler builds for $target; it takes one for Linux with the GNU C library" >&2
  exit 1
}

# Folders get into a binary by panic messages and by C's assertions. They are given names that are the same everywhere.
cargo fetch --locked --target "$target"
flags=(-C target-feature=+crt-static "--remap-path-prefix=$root=/driftd" "--remap-path-prefix=$CARGO_TARGET_DIR=/target")
c_flags=("-ffile-prefix-map=$root=/driftd" "-ffile-prefix-map=$CARGO_TARGET_DIR=/target")
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
  flags+=("--remap-path-prefix=$registry=/registry")
  c_flags+=("-ffile-prefix-map=$registry=/registry")
done

# Both in forms in which a folder may have spaces in its name. `--target` keeps the flags from what runs while building.
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}")
CFLAGS=$(printf '%q ' "${c_flags[@]}")
export CARGO_ENCODED_RUSTFLAGS CFLAGS CC_SHELL_ESCAPED_FLAGS=1
export CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols
cargo build --release --locked --target "$target" --bin driftd
install -m 0755 "$CARGO_TARGET_DIR/$target/release/driftd" "$out"
