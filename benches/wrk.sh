#!/usr/bin/env bash
# Prints the path of a wrk: the one on the PATH, or the distribution's package (Debian and Ubuntu have one), unpacked into the
# cache folder with the library it needs. Nothing is installed into the system.
set -euo pipefail
say() { echo "benches/wrk.sh: $*" >&2; }
fail() { say "$1"; shift; printf '  %s\n' "$@" >&2; exit 1; }

# wrk -v says what it is and ends with 1.
runs() { [[ $("$1" -v 2>&1 || true) == wrk* ]]; }

found=$(command -v wrk || true)
if [ -n "$found" ]; then echo "$found"; exit; fi
out=${XDG_CACHE_HOME:-$HOME/.cache}/echo-phoenix/wrk
if [ -x "$out/wrk" ] && runs "$out/wrk"; then echo "$out/wrk"; exit; fi
command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
  fail "There is no wrk, and no apt-get to fetch it with." "Install wrk (https://github.com/wg/wrk) and run this again."
say "fetching wrk and libluajit with apt-get download, into $out"
rm -rf "$out"
mkdir -p "$out/packages"
fetch() { apt-get download -qq -o APT::Sandbox::User=root wrk libluajit-5.1-2; }
# As root apt drops to a user that cannot write here. Its lists may be missing or older than the archive: fetched anew, once.
(cd "$out/packages" && { fetch || { [ "$(id -u)" = 0 ] && say "apt-get update" && apt-get update -qq && fetch; }; }) >&2 ||
  fail "apt could not fetch wrk." "Install it (Debian and Ubuntu: apt-get install wrk) and run this again."
for package in "$out"/packages/*.deb; do dpkg -x "$package" "$out/root"; done
rm -rf "$out/packages"
libraries=$(dirname "$(find "$out/root" -name 'libluajit-5.1.so.2' -print -quit)")
printf '#!/bin/sh\nLD_LIBRARY_PATH=%q exec %q "$@"\n' "$libraries" "$out/root/usr/bin/wrk" >"$out/wrk"
chmod +x "$out/wrk"
runs "$out/wrk" || fail "The wrk that was fetched does not run: $("$out/wrk" -v 2>&1 | head -n 1)" "Install wrk and run this again."
echo "$out/wrk"
