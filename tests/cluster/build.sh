#!/usr/bin/env bash
# Builds the control plane from Go's module proxy: `build.sh GO FOLDER`. FOLDER/bin has the programs, FOLDER/crds the CRDs, and
# FOLDER/kserve, knative… and argocd their manifests. What is there already is kept, so an interrupted build goes on where it was.
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
for program in controller webhook autoscaler activator queue; do
  build "knative-$program" "knative.dev/serving@$KNATIVE" "./cmd/$program"
done
build argocd "github.com/argoproj/argo-cd/v3@$ARGOCD" ./cmd
# Without the clients of two dozen clouds, which are most of it.
GOFLAGS=-tags=remove_all_sd,enable_kubernetes_sd build prometheus "github.com/prometheus/prometheus@$PROMETHEUS" ./cmd/prometheus

# TARGET MODULE@VERSION FOLDER…: folders of the module, copied into one.
copy() {
  local target=$FOLDER/$1 source folder
  [[ ! -d $target ]] || return 0
  source=$(source_of "$2")
  rm -rf "$target.partial"
  mkdir "$target.partial"
  for folder in "${@:3}"; do cp -r "$source/$folder" "$target.partial/"; done
  chmod -R u+w "$target.partial"
  mv "$target.partial" "$target"
}

copy kserve "github.com/kserve/kserve@$KSERVE" config test/crds
copy knative "knative.dev/serving@$KNATIVE" config/core
copy knative-networking "knative.dev/networking@$KNATIVE_NETWORKING" config
copy knative-caching "knative.dev/caching@$KNATIVE_CACHING" config
copy argocd "github.com/argoproj/argo-cd/v3@$ARGOCD" manifests/base/config manifests/crds

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
