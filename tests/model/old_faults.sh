#!/usr/bin/env bash
# Puts each of the faults of tests/model/old_faults back, one after the other, and tells whether the model finds it by itself.
# usage: tests/model/old_faults.sh [name…]     e.g. tests/model/old_faults.sh settled_twice
# Ends with 0 if each was found; says by which seed, and what was wrong. `make test-full` runs it.
#
# Works on a copy of the files that git knows, as they are now; only what is compiled is shared. A fault that does not apply
# any more is to be written anew: its first lines say what it puts back.
#
# env: ECHO_MODEL_STEPS     steps in which it has to be found (default: those of `make test`)
#      ECHO_OLD_FAULTS_DIR  another folder for the copy
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
say() { echo "tests/model/old_faults.sh: $*" >&2; }

case ${1:-} in -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit ;; esac
copy=${ECHO_OLD_FAULTS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/echo-phoenix/old-faults}
CARGO_TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR
unset ECHO_TEST_FULL ECHO_MODEL_SEED
mkdir -p "$copy"
if command -v flock >/dev/null; then # two runs at once would change one copy
  exec {lock}>"$copy.lock"
  flock -n "$lock" || { say "another run holds $copy: wait for it, or set ECHO_OLD_FAULTS_DIR"; exit 1; }
fi

missed=0 known=''
for patch in "$PWD"/tests/model/old_faults/*.patch; do
  name=$(basename "$patch" .patch)
  known="$known $name"
  [ $# -eq 0 ] || [[ " $* " = *" $name "* ]] || continue
  rm -rf "$copy"
  mkdir -p "$copy"
  git ls-files -z | xargs -0 cp --parents --target-directory "$copy"
  # Not a part of whatever repository is around it.
  (cd "$copy" && GIT_CEILING_DIRECTORIES=$(dirname "$copy") git apply -C1 "$patch") || { say "$name does not apply"; exit 1; }
  began=$SECONDS
  if said=$(cd "$copy" && cargo test --locked --test model whatever -- --nocapture 2>&1); then
    say "$name: NOT FOUND"
    missed=1
  elif found=$(grep -m 1 -A 1 'ECHO_MODEL_SEED=' <<<"$said"); then
    echo "$name: found after $((SECONDS - began)) s"
    cut -c 1-400 <<<"$found"
  else
    say "$name: the model did not run"
    tail -n 20 <<<"$said" >&2
    missed=1
  fi
done
for name in "$@"; do
  [[ " $known " = *" $name "* ]] || { say "there is no $name among$known"; exit 1; }
done
exit "$missed"
