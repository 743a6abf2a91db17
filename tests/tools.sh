#!/usr/bin/env bash
# Makes the tools of the tests in a cache folder and prints that folder; its bin/ has nginx, caddy, traefik, envoy, kubectl, promtool, chromium
# and python, its lib/ libfaketime.
# The folder is a virtual environment with tests/requirements.txt. nginx, promtool, chromium and libfaketime are the system's, or else
# the distribution's packages, unpacked into the cache folder. Nothing is installed into the system (only, where apt's package lists are missing and
# the user is root, `apt-get update` is run, and said). Needs Python >= 3.10 with venv, and a registry of Python packages.
# env: ECHO_TOOLS_DIR   another folder
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { echo "tests/tools.sh: $*" >&2; }
fail() { say "$1"; shift; printf '  %s\n' "$@" >&2; exit 1; }

python=$(command -v python3) || fail "Python 3 is not installed." "Install python3 and python3-venv (3.10 or newer)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "Python >= 3.10 is needed, $("$python" -V) was found." "Put a newer python3 on the PATH."
# An nginx from one release's package need not run on another, nor a venv without the Python that made it.
key=$(cat "$here/requirements.txt" "$here/tools.sh" <("$python" -V; uname -sm; grep -E '^(ID|VERSION_ID)=' /etc/os-release 2>/dev/null) | sha256sum | cut -c1-12)
out=${ECHO_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/echo-phoenix/tools-$key}

guards() { [[ $("$1" -V 2>&1) == *--with-http_auth_request_module* ]]; } # an nginx with the module we test
browses() { [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q Chrom; }
is_complete() {
  [ -e "$out/.complete" ] && [ -x "$out/bin/kubectl" ] && [ -x "$out/bin/promtool" ] && [ -x "$out/bin/caddy" ] &&
    [ -x "$out/bin/traefik" ] && [ -x "$out/bin/envoy" ] && guards "$out/bin/nginx" && browses "$out/bin/chromium" &&
    [ -e "$out/lib/libfaketime.so" ] &&
    "$out/bin/python" -c 'import importlib.util as i, sys; sys.exit(not (i.find_spec("stripe") and i.find_spec("pyairtable")))' 2>/dev/null
}

make_python() {
  say "making a Python environment with $(grep -cE '^[A-Za-z]' "$here/requirements.txt") packages from its registry: stripe, pyairtable, kubectl and what they need"
  "$python" -m venv --clear "$out" >&2 || fail "python3 -m venv failed." "On Debian and Ubuntu: apt-get install python3-venv"
  "$out/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --requirement "$here/requirements.txt" >&2 ||
    fail "pip could not install tests/requirements.txt (see above)." "Does this machine reach a registry of Python packages? pip's own settings (PIP_INDEX_URL, pip.conf) are honoured."
}

download_nginx() { # unpacks the distribution's nginx; Debian has the program in nginx, older Ubuntus in nginx-core
  local package file
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
  if ! apt-cache show nginx >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || { say "apt has no package lists, and only root may fetch them: sudo apt-get update"; return 1; }
    say "fetching apt's package lists (apt-get update)"
    apt-get update -qq >&2 || return 1
  fi
  for package in nginx nginx-core; do
    say "fetching $package and nginx-common with apt-get download, into $out"
    rm -rf "$out/nginx" "$out/packages"
    mkdir -p "$out/packages"
    # As root apt drops to a user that cannot write here; it warns and goes on as root. Its lists may be older than the
    # archive, which then answers 404: they are fetched anew, once.
    (cd "$out/packages" && { apt-get download -qq -o APT::Sandbox::User=root "$package" nginx-common ||
      { [ "$(id -u)" = 0 ] && say "apt's package lists are out of date (apt-get update)" && apt-get update -qq &&
        apt-get download -qq -o APT::Sandbox::User=root "$package" nginx-common; }; }) >&2 || return 1
    for file in "$out"/packages/*.deb; do dpkg -x "$file" "$out/nginx"; done
    rm -rf "$out/packages"
    if guards "$out/nginx/usr/sbin/nginx"; then ln -sfn ../nginx/usr/sbin/nginx "$out/bin/nginx"; return; fi
    say "that nginx does not run here: $("$out/nginx/usr/sbin/nginx" -V 2>&1 | head -n 1)"
  done
  return 1
}

make_nginx() {
  local found
  for found in "$(command -v nginx || true)" /usr/sbin/nginx; do
    if [ -x "$found" ] && guards "$found"; then
      say "using $found"
      ln -sfn "$found" "$out/bin/nginx"
      return
    fi
  done
  download_nginx || fail "There is no nginx with http_auth_request_module, and none could be fetched." \
    "Install it (Debian and Ubuntu: apt-get install nginx; elsewhere your system's nginx package) and run this again."
}

make_promtool() { # the system's, or else the one in the distribution's package prometheus
  local found
  found=$(command -v promtool || true)
  if [ -n "$found" ]; then
    say "using $found"
  else
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "There is no promtool, and no apt-get to fetch it with." "Install prometheus and run this again."
    say "fetching prometheus with apt-get download, for its promtool, into $out"
    rm -rf "$out/prometheus" "$out/packages"
    mkdir -p "$out/packages"
    # make_nginx may have found a system's nginx and left apt's lists as they were.
    (cd "$out/packages" && { apt-get download -qq -o APT::Sandbox::User=root prometheus ||
      { [ "$(id -u)" = 0 ] && say "fetching apt's package lists (apt-get update)" && apt-get update -qq &&
        apt-get download -qq -o APT::Sandbox::User=root prometheus; }; }) >&2 || fail "apt could not fetch prometheus." "Install it and run this again."
    for found in "$out"/packages/*.deb; do dpkg -x "$found" "$out/prometheus"; done
    rm -rf "$out/packages"
    found=../prometheus/usr/bin/promtool
  fi
  ln -sfn "$found" "$out/bin/promtool"
}

download_chromium() { # Debian's headless chromium with those of its libraries that the system lacks (about 100 MB)
  local root=$out/chromium packages
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
  say "fetching chromium-headless-shell and what it needs with apt-get download, into $out"
  rm -rf "$root" "$out/packages"
  mkdir -p "$out/packages"
  # make_promtool may have found a system's promtool and left apt's lists as they were.
  packages=$(apt-get -s --no-install-recommends install chromium-headless-shell 2>/dev/null | awk '/^Inst/ { print $2 }')
  if [ -z "$packages" ] && [ "$(id -u)" = 0 ]; then
    say "fetching apt's package lists (apt-get update)"
    apt-get update -qq >&2 || return 1
    packages=$(apt-get -s --no-install-recommends install chromium-headless-shell 2>/dev/null | awk '/^Inst/ { print $2 }')
  fi
  [ -n "$packages" ] || return 1
  # shellcheck disable=SC2086 # a list of names
  (cd "$out/packages" && { apt-get download -qq -o APT::Sandbox::User=root $packages ||
    { [ "$(id -u)" = 0 ] && say "apt's package lists are out of date (apt-get update)" && apt-get update -qq &&
      apt-get download -qq -o APT::Sandbox::User=root $packages; }; }) >&2 || return 1
  for package in "$out"/packages/*.deb; do dpkg -x "$package" "$root"; done
  rm -rf "$out/packages"
  cat >"$out/bin/chromium" <<'SCRIPT'
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../chromium
for libraries in "$root"/usr/lib/*-linux-gnu "$root"/usr/lib/*-linux-gnu/pulseaudio; do
  LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "$root/usr/lib/chromium/chromium-headless-shell" "$@"
SCRIPT
  chmod +x "$out/bin/chromium"
  browses "$out/bin/chromium"
}

make_chromium() {
  local name found
  for name in chromium chromium-headless-shell google-chrome; do
    found=$(command -v "$name" || true)
    if [ -n "$found" ] && browses "$found"; then
      say "using $found"
      ln -sfn "$found" "$out/bin/chromium"
      return
    fi
  done
  download_chromium || fail "There is no chromium, and none could be fetched." \
    "Install it (Debian: apt-get install chromium; elsewhere your system's package, or Google Chrome) and run this again."
}

make_faketime() { # the system's library, or else the one of the distribution's package
  local found
  found=$(find /usr/lib /usr/local/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
  if [ -n "$found" ]; then
    say "using $found"
  else
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "There is no libfaketime, and no apt-get to fetch it with." "Install faketime and run this again."
    say "fetching libfaketime with apt-get download, into $out"
    rm -rf "$out/faketime" "$out/packages"
    mkdir -p "$out/packages"
    # Whoever came before may have found the system's and left apt's lists as they were.
    (cd "$out/packages" && { apt-get download -qq -o APT::Sandbox::User=root libfaketime ||
      { [ "$(id -u)" = 0 ] && say "fetching apt's package lists (apt-get update)" && apt-get update -qq &&
        apt-get download -qq -o APT::Sandbox::User=root libfaketime; }; }) >&2 || fail "apt could not fetch libfaketime." "Install faketime and run this again."
    dpkg -x "$out"/packages/*.deb "$out/faketime"
    rm -rf "$out/packages"
    found=$(find "$out/faketime" -name libfaketimeMT.so.1 | head -n 1)
  fi
  ln -sfn "$found" "$out/lib/libfaketime.so"
}

if ! is_complete; then
  mkdir -p "$out"
  if command -v flock >/dev/null; then # two runs at once: the second waits and finds everything made
    exec {lock}>"$out.lock"
    flock "$lock"
  fi
  if ! is_complete; then
    make_python
    make_nginx
    make_promtool
    make_chromium
    make_faketime
    touch "$out/.complete"
  fi
fi
echo "$out"
