#!/usr/bin/env bash
# Mutation test of the rules: changes src/domain and src/decide, one place at a time, and tells which change no test notices.
# usage: tests/mutants.sh [arguments of cargo mutants]     e.g. tests/mutants.sh --file src/decide/law.rs, or --iterate
# `make mutants` calls it. It ends with 0 if every mutant was caught; the missed ones are named by their place in src/.
#
# The crate takes minutes to build, and there are hundreds of mutants. domain and decide import nothing else of ours
# (tests/architecture.rs), so they are copied, under the same names, into a package of their own, with the tests of
# tests/rules that name nothing else and the few dependencies they need, at the versions of Cargo.lock. There a mutant
# takes seconds. What is excluded, and why, is in tests/mutants.toml.
#
# env: ECHO_MUTANTS_CASES   cases of a property test, where it asks for more (default 1000)
#      ECHO_MUTANTS_DIR     another folder for the package, its target and the report
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { echo "tests/mutants.sh: $*" >&2; }

version=27.1.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/echo-phoenix
root=$cache/cargo-mutants
dir=${ECHO_MUTANTS_DIR:-$cache/mutants}
package=$dir/package
cases=${ECHO_MUTANTS_CASES:-1000}
# The crates that domain, decide and their tests name; one more is one more word here.
crates='hex|hmac|jiff|schemars|serde|serde_json|sha2|siphasher|strum|thiserror'
test_crates='proptest'

case ${1:-} in -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit ;; esac
[[ $cases =~ ^[1-9][0-9]*$ ]] || { say "ECHO_MUTANTS_CASES is '$cases', expected a whole number from 1"; exit 1; }
mkdir -p "$dir"
if command -v flock >/dev/null; then # two runs at once would mutate one folder
  exec {lock}>"$dir/lock"
  flock -n "$lock" || { say "another run holds $dir: wait for it, or set ECHO_MUTANTS_DIR"; exit 1; }
fi
if [ "$("$root/bin/cargo-mutants" mutants --version 2>/dev/null)" != "cargo-mutants $version" ]; then
  say "installing cargo-mutants $version into $root (minutes)"
  env -u CARGO_TARGET_DIR cargo install --locked --version "$version" --root "$root" cargo-mutants
fi

# A test file goes along if all it names of ours is domain and decide.
is_pure() { ! grep -oE 'echo_phoenix::[a-z_{]+' "$1" | grep -qvxE 'echo_phoenix::(domain|decide)'; }

rm -rf "$package"
mkdir -p "$package/src" "$package/tests/rules" "$package/.cargo"
cp -R src/domain.rs src/domain src/decide.rs src/decide "$package/src/"
printf '//! The rules alone.\npub mod decide;\npub mod domain;\n' >"$package/src/lib.rs"
modules=''
for file in tests/rules/*.rs; do
  name=$(basename "$file" .rs)
  [ "$name" != main ] && is_pure "$file" || continue
  # Fewer cases: a mutant that only the ten thousandth finds wants a table of its own.
  awk -v most="$cases" '{
    if (match($0, /cases: [0-9_]+/)) {
      asked = substr($0, RSTART + 7, RLENGTH - 7); gsub(/_/, "", asked)
      if (asked + 0 > most + 0) $0 = substr($0, 1, RSTART + 6) most substr($0, RSTART + RLENGTH)
    }
    print
  }' "$file" >"$package/tests/rules/$name.rs"
  modules+="mod $name;"$'\n'
done
printf '//! The tests of the rules alone.\n%s' "$modules" >"$package/tests/rules/main.rs"
cp tests/mutants.toml "$package/.cargo/mutants.toml"
cp Cargo.lock "$package/Cargo.lock"
cat >"$package/Cargo.toml" <<TOML
[package]
name = "echo-phoenix"
version = "0.0.0"
edition = "2024"
autotests = false
publish = false

[workspace]

[lib]
name = "echo_phoenix"
test = false
doctest = false

[[test]]
name = "rules"
path = "tests/rules/main.rs"

[dependencies]
$(grep -E "^($crates) = " Cargo.toml)

[dev-dependencies]
$(grep -E "^($test_crates) = " Cargo.toml)

[profile.dev]
debug = false
opt-level = 1

[profile.dev.package."*"]
opt-level = 3
TOML

say "$(wc -w <<<"${modules//mod /}" | tr -d ' ') files of tests/rules; the report is in $dir/mutants.out"
status=0
# In place: the package is a copy already, and so the next mutant is an incremental build. A failure need not be made small.
(cd "$package" && CARGO_TARGET_DIR="$dir/target" PROPTEST_CASES=$((cases < 256 ? cases : 256)) \
  PROPTEST_MAX_SHRINK_ITERS=0 "$root/bin/cargo-mutants" mutants --in-place --output "$dir" --minimum-test-timeout 60 "$@") || status=$?
# What ran into the time limit was noticed; whether anything was missed is in the report, whatever else there was.
if [ "$status" = 3 ] && [ -e "$dir/mutants.out/missed.txt" ] && [ ! -s "$dir/mutants.out/missed.txt" ]; then status=0; fi
case $status in
  0) say "no mutant was missed" ;;
  2 | 3) say "missed: write the test that notices, or name the reason in tests/mutants.toml" ;;
  *) say "cargo mutants failed ($status)" ;;
esac
exit "$status"
