#!/usr/bin/env bash
# Builds the programs of the test cluster from published Go modules into a cache folder and prints that folder.
# usage: build.sh [etcd kube-apiserver kube-controller-manager kwok helm]     (default: all but helm)
#
# Cold on 2 cores: etcd 55 s, kube-apiserver 5 min 10 s, kube-controller-manager 1 min 40 s, kwok 1 min 20 s, helm 1 min,
# peak 2.6 GiB. Afterwards it does nothing. Programs are taken, in this order, from
#   1. the cache folder (ECHO_RIG_DIR, by default under ${XDG_CACHE_HOME:-~/.cache}/echo-phoenix),
#   2. KUBEBUILDER_ASSETS, when set (as setup-envtest fills it: etcd and kube-apiserver),
#   3. Go >= 1.26, which builds them from the versions that control-plane/, kwok/ and helm/ pin.
#
# The folder's name is a digest of what decides what the programs do: the pinned modules, the version they report, the
# platform and KUBEBUILDER_ASSETS. The Go release and this script's wording are left out on purpose: neither changes a
# program's behaviour, and a cache restored on a machine without Go stays usable.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
want=("$@")
[ ${#want[@]} -gt 0 ] || want=(etcd kube-apiserver kube-controller-manager kwok)
kube=v1.37.2 # what control-plane/go.mod pins k8s.io/kubernetes to
assets=${KUBEBUILDER_ASSETS:-}

# Only published modules, exactly as pinned, by the Go that is installed.
export CGO_ENABLED=0 GOTOOLCHAIN=${GOTOOLCHAIN:-local} GOWORK=off GOFLAGS=-mod=readonly GOGC=${GOGC:-200}

say() { echo "tests/cluster/build.sh: $*" >&2; }

key=$(cat "$here"/{control-plane,kwok,helm}/go.{mod,sum} <(echo "$kube" "$(uname -sm)" "$assets") | sha256sum | cut -c1-12)
out=${ECHO_RIG_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/echo-phoenix/rig-$key}

for name in "${want[@]}"; do
  case $name in
    etcd | kube-apiserver | kube-controller-manager | kwok | helm) ;;
    *) say "unknown program: $name"; exit 2 ;;
  esac
done

missing() { # the wanted programs that are neither in the cache folder nor in KUBEBUILDER_ASSETS
  local name
  for name in "${want[@]}"; do
    [ -x "$out/$name" ] || { [ -n "$assets" ] && [ -x "$assets/$name" ]; } || echo "$name"
  done
  [[ " ${want[*]} " != *" kwok "* ]] || [ -s "$out/kwok-stages.yaml" ] || echo kwok-stages.yaml
}

has_go() { # Go >= 1.26
  local version
  version=$(cd "$here/control-plane" && go env GOVERSION 2>/dev/null) || return 1
  [[ $version =~ ^go([0-9]+)\.([0-9]+) ]] || return 1
  ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 26))
}

require_go() {
  has_go && return
  say "cannot make $(missing | paste -sd' ' -): Go >= 1.26 is needed, and found is $(go version 2>/dev/null || echo 'no Go')."
  cat >&2 <<'HELP'
  Install Go 1.26 or newer from https://go.dev/dl and put its bin/ on the PATH
  (with Go >= 1.21 installed, GOTOOLCHAIN=auto lets it fetch the newer release itself).
  etcd and kube-apiserver, the largest, are also taken from KUBEBUILDER_ASSETS:
      go run sigs.k8s.io/controller-runtime/tools/setup-envtest@latest use 1.37.x -p path
  The tests need a real API server, so they fail here rather than leave tests out.
HELP
  exit 1
}

version_flags() { # without them the server calls itself v0.0.0-master
  local minor=${kube#v1.} package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=archive ' \
      "$package" "$kube" "$package" "$package" "${minor%%.*}" "$package"
    printf -- '-X %s.gitCommit=%040d -X %s.buildDate=2026-01-01T00:00:00Z ' "$package" 0 "$package"
  done
}

build() { # module folder, package, program
  say "building $3"
  (cd "$here/$1" && go build -trimpath -buildvcs=false -pgo=off -tags=notest,grpcnotrace -ldflags="-s -w $(version_flags)" \
    -o "$out/$3.part.$$" "$2")
  mv "$out/$3.part.$$" "$out/$3" # in one step, so that a program is whole or absent
}

stages() { # what kwok does to nodes and pods, from its own release
  local folder
  folder=$(cd "$here/kwok" && go mod download sigs.k8s.io/kwok && go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  awk 'FNR == 1 { print "---" } 1' "$folder"/node/fast/node-initialize.yaml "$folder"/pod/fast/pod-*.yaml >"$out/stages.part.$$"
  mv "$out/stages.part.$$" "$out/kwok-stages.yaml"
}

make_program() {
  if [ -n "$assets" ] && [ -x "$assets/$1" ]; then
    say "taking $1 from KUBEBUILDER_ASSETS"
    ln -sf "$assets/$1" "$out/$1"
    return
  fi
  case $1 in
    etcd) build control-plane go.etcd.io/etcd/server/v3 etcd ;;
    kube-*) build control-plane "k8s.io/kubernetes/cmd/$1" "$1" ;;
    kwok) build kwok sigs.k8s.io/kwok/cmd/kwok kwok ;;
    helm) build helm helm.sh/helm/v4/cmd/helm helm ;;
    kwok-stages.yaml) stages ;;
  esac
}

is_complete() {
  local name
  [ -z "$(missing)" ] || return 1
  for name in "${want[@]}"; do [ -x "$out/$name" ] || return 1; done
}

if ! is_complete; then
  [ -z "$(missing)" ] || require_go
  mkdir -p "$out"
  # One build at a time per folder: a second run waits here and then finds everything made.
  if command -v flock >/dev/null; then
    exec {lock}>"$out/.lock"
    flock -n "$lock" || { say "another build is under way, waiting for it"; flock "$lock"; }
  else
    say "flock (util-linux) is not installed: a second build at the same time would do the same work twice"
  fi
  trap 'rm -f "$out"/*.part.$$' EXIT
  for name in "${want[@]}"; do [ -x "$out/$name" ] || make_program "$name"; done
  [[ " ${want[*]} " != *" kwok "* ]] || [ -s "$out/kwok-stages.yaml" ] || make_program kwok-stages.yaml
fi
echo "$out"
