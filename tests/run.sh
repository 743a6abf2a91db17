#!/usr/bin/env bash
# Runs all tests, against a real Kubernetes API server, nginx and the official clients. `make test` calls it.
# usage: tests/run.sh [arguments of cargo test]      e.g. tests/run.sh --test it kill -- --nocapture
#        eval "$(tests/run.sh --env)"                sets the same up for single tests by hand: then `cargo test …`
#        tests/run.sh --down                         ends what --env started
#
# The tests find in their environment
#   ECHO_TEST_RIG      programs: etcd, kube-apiserver, kube-controller-manager, kwok, helm, kwok-stages.yaml
#   ECHO_TEST_TOOLS    tools: bin/python, bin/kubectl, bin/nginx
#   ECHO_TEST_CLUSTER  the folder of a running cluster: admin.kubeconfig, plain.kubeconfig, audit.log (tests/cluster/cluster.sh)
# A test that needs a cluster of its own, to break it, starts one in a folder beside ECHO_TEST_CLUSTER; what it leaves
# running there is stopped at the end.
#
# Needs Rust, Go >= 1.26 (or what tests/cluster/build.sh says), Python 3, cc, curl, openssl. The first run builds the cluster's
# programs: about 10 minutes on 2 cores; then that takes no time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}
remembered=$target/test-env # where --env keeps the name of its folder
run_dir='' job=''
say() { echo "tests/run.sh: $*" >&2; }

# Each step is a job with a process group of its own, so that Ctrl-C and SIGTERM end it, with all it started, at once.
set -m
step() {
  local status=0
  "$@" &
  job=$!
  wait "$job" || status=$?
  job=''
  return "$status"
}
interrupted() { # exit status
  trap '' INT TERM
  say "interrupted"
  [ -z "$job" ] || kill -TERM -- "-$job" 2>/dev/null || true
  exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM

take_down() { # folder with clusters
  local cluster
  for cluster in "$1"/*/; do
    [ ! -d "$cluster" ] || tests/cluster/cluster.sh down "${cluster%/}"
  done
}
keep_logs() {
  local cluster name kept=$target/test-logs
  rm -rf "$kept"
  for cluster in "$run_dir"/*/; do
    name=$(basename "$cluster")
    mkdir -p "$kept/$name"
    cp "$cluster"*.log "$kept/$name/" 2>/dev/null || true
  done
  [ ! -d "$kept" ] || say "the servers' logs are in $kept"
}
finish() { # exit status
  trap '' INT TERM
  [ -n "$run_dir" ] || return 0
  take_down "$run_dir"
  [ "$1" -eq 0 ] || keep_logs
  rm -rf "$run_dir"
}

set_up_tools() {
  say "tools (nginx, kubectl, Python clients of Stripe and Airtable): tests/tools.sh"
  step tests/tools.sh >"$run_dir/tools"
  say "programs of the test cluster (etcd, Kubernetes, kwok, helm): tests/cluster/build.sh"
  step tests/cluster/build.sh etcd kube-apiserver kube-controller-manager kwok helm >"$run_dir/rig"
  ECHO_TEST_TOOLS=$(cat "$run_dir/tools") ECHO_TEST_RIG=$(cat "$run_dir/rig")
  ECHO_TEST_CLUSTER=$run_dir/cluster
  export ECHO_TEST_TOOLS ECHO_TEST_RIG ECHO_TEST_CLUSTER
}
start_cluster() {
  say "starting the cluster in $ECHO_TEST_CLUSTER"
  BIN=$ECHO_TEST_RIG step tests/cluster/cluster.sh up "$ECHO_TEST_CLUSTER" >/dev/null
}
make_run_dir() {
  run_dir=$(mktemp -d "${TMPDIR:-/tmp}/echo-phoenix-test.XXXXXX")
  trap 'finish $?' EXIT
}

case ${1:-} in
  --env)
    if [ -s "$remembered" ] && [ -d "$(cat "$remembered")" ]; then
      run_dir=$(cat "$remembered") # still there: what has died since is started again
    else
      make_run_dir
    fi
    set_up_tools
    start_cluster
    trap - EXIT
    mkdir -p "$target"
    echo "$run_dir" >"$remembered"
    for name in ECHO_TEST_RIG ECHO_TEST_TOOLS ECHO_TEST_CLUSTER; do printf 'export %s=%q\n' "$name" "${!name}"; done
    say "the cluster runs until: tests/run.sh --down"
    ;;
  --down)
    if [ ! -s "$remembered" ]; then say "nothing runs: no --env before"; exit 0; fi
    run_dir=$(cat "$remembered")
    take_down "$run_dir"
    rm -rf "$run_dir" "$remembered"
    ;;
  -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" ;;
  *)
    make_run_dir
    set_up_tools
    say "cargo build --release --locked"
    step cargo build --release --locked
    say "cargo test --release --locked --no-run"
    step cargo test --release --locked --no-run
    start_cluster
    say "cargo test --release --locked $*"
    step cargo test --release --locked "$@"
    if [ "${ECHO_TEST_FULL:-}" = 1 ] && [ $# -eq 0 ]; then
      say "faults that were there once, put back: tests/model/old_faults.sh"
      step tests/model/old_faults.sh
    fi
    ;;
esac
