#!/usr/bin/env bash
# Builds the control plane from Go's module proxy: `build.sh GO FOLDER`. FOLDER/bin has the programs, FOLDER/kserve the
# manifests, FOLDER/crds the CRDs. What is there already is kept, so an interrupted build goes on where it was.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./versions.env
GO=$1 FOLDER=$2
export CGO_ENABLED=0 GOWORK=off

say() { printf 'build.sh: %s\n' "$*" >&2; }

# The folder of the module cache that holds MODULE@VERSION.
source_of() { "$GO" mod download -json "$1" | sed -n 's/.*"Dir": "\(.*\)",/\1/p'; }

# NAME MODULE@VERSION PACKAGE [LDFLAGS]: built where its source is, as the main module, so that the module's own pins and
# replacements hold. Replacements by folders that are not in the module (Kubernetes and etcd are developed in one
# repository with them) are taken from their releases instead.
build() {
  local name=$1 module=$2 package=$3 ldflags="-s -w ${4:-}" source modfile=$FOLDER/${2//\//_}.mod
  [[ ! -x $FOLDER/bin/$name ]] || return 0
  say "building $name from $module"
  source=$(source_of "$module")
  sed "s#=> \./staging/src/\(k8s\.io/[a-z-]*\)#=> \1 $KUBERNETES_MODULES#; /=> \.\.\?\//d" "$source/go.mod" > "$modfile"
  cp "$source/go.sum" "${modfile%.mod}.sum"
  chmod u+w "${modfile%.mod}.sum"
  # Written beside and renamed: a program that is there is whole.
  (cd "$source" && nice "$GO" build -mod=mod -modfile="$modfile" -trimpath -buildvcs=false -ldflags "$ldflags" \
    -o "$FOLDER/bin/$name.partial" "$package") >&2
  mv "$FOLDER/bin/$name.partial" "$FOLDER/bin/$name"
}

mkdir -p "$FOLDER/bin"
# Clients read the version that the server reports, and without these flags it is a placeholder.
version="k8s.io/component-base/version"
release="-X $version.gitVersion=$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<< "$KUBERNETES")"
# One module after the other: its packages are compiled once for all of its programs.
build etcd "go.etcd.io/etcd/server/v3@$ETCD" .
for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
  build "$program" "k8s.io/kubernetes@$KUBERNETES" "./cmd/$program" "$release"
done
build kserve-manager "github.com/kserve/kserve@$KSERVE" ./cmd/manager

if [[ ! -d $FOLDER/kserve ]]; then
  source=$(source_of "github.com/kserve/kserve@$KSERVE")
  rm -rf "$FOLDER/kserve.partial"
  mkdir "$FOLDER/kserve.partial"
  cp -r "$source/config" "$source/test/crds" "$FOLDER/kserve.partial/"
  chmod -R u+w "$FOLDER/kserve.partial"
  mv "$FOLDER/kserve.partial" "$FOLDER/kserve"
fi

if [[ ! -d $FOLDER/crds ]]; then
  rm -rf "$FOLDER/crds.partial"
  mkdir "$FOLDER/crds.partial"
  for each in $CRDS; do
    module=$(sed 's#\(@[^/]*\)/.*#\1#' <<< "$each")
    say "CRDs of $module"
    target=$FOLDER/crds.partial/${module//\//_}
    mkdir -p "$target"
    cp -r "$(source_of "$module")/${each#"$module"/}" "$target/"
  done
  chmod -R u+w "$FOLDER/crds.partial"
  mv "$FOLDER/crds.partial" "$FOLDER/crds"
fi
rm -f "$FOLDER"/*.mod "$FOLDER"/*.sum
