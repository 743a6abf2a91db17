#!/usr/bin/env bash
# A real Kubernetes control plane on loopback: etcd, kube-apiserver, the controllers that move Deployments, Jobs and
# CronJobs, and kwok, which makes their pods Ready on a node named n1 (there is no scheduler: a pod template sets
# `nodeName: n1`). Ready in about 6 s, about 400 MiB. Any number may run beside each other, each in a folder of its own.
#
# usage: cluster.sh up DIR      starts it and prints DIR/admin.kubeconfig. Servers that still run are left alone, so
#                               after killing one of them `up` starts that one again: same ports, same data
#        cluster.sh down DIR    stops it and keeps DIR
# env:   BIN               the folder that build.sh printed
#        APISERVER_EXTRA   more flags of kube-apiserver, separated by blanks
#        CONTROLLERS=0     API server and etcd only
# In DIR: admin.kubeconfig (system:masters), plain.kubeconfig (user `plain`, no rights), audit.log, and of each server
#         NAME.log, NAME.pid and its port (etcd.port, etcd-peer.port, kube-apiserver.port)
set -euo pipefail
usage() { sed -n '/^# usage/,/^set /{/^# /s/^# //p}' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
action=$1 dir=$2
[[ $dir == /* ]] || { echo "cluster.sh: DIR must be absolute: $dir" >&2; exit 2; }
servers=(kwok kube-controller-manager kube-apiserver etcd) # in the order they are stopped

alive() { # is this server running, and is it ours: a pid may have been given to another process since
  local pid
  pid=$(cat "$dir/$1.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null || return 1
  [ ! -r "/proc/$pid/cmdline" ] || grep -qaF -- "$dir/" "/proc/$pid/cmdline"
}
alive_any() { local name; for name in "${servers[@]}"; do alive "$name" && return; done; return 1; }

down() {
  local name pid
  for name in "${servers[@]}"; do # a test may have frozen one, and the others wait for it
    ! alive "$name" || kill -CONT "$(cat "$dir/$name.pid")" 2>/dev/null || true
  done
  for name in "${servers[@]}"; do
    if alive "$name"; then
      pid=$(cat "$dir/$name.pid")
      kill "$pid" 2>/dev/null || true
      for _ in $(seq 200); do alive "$name" || break; sleep 0.05; done
      ! alive "$name" || kill -9 "$pid" 2>/dev/null || true
    fi
    rm -f "$dir/$name.pid"
  done
}

# A port that nothing listens on and that no other cluster has: each holds a lock on a file named after its port, which
# its servers inherit, so the port is free again when the last of them is gone, however it died. The ports lie below the
# range the kernel gives to outgoing connections (32768 and up), else such a connection could take one between our look
# and the server's start.
locks=${TMPDIR:-/tmp}/echo-phoenix-ports-$(id -u)
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
reserve() { # name: leaves the port in DIR/NAME.port
  local port lock
  if [ -s "$dir/$1.port" ]; then
    port=$(cat "$dir/$1.port")
    exec {lock}>"$locks/$port"
    flock -n "$lock" || alive_any || { echo "cluster.sh: port $port of $dir has gone to another cluster; remove $dir/*.port" >&2; return 1; }
    return
  fi
  for _ in $(seq 200); do
    port=$((20000 + (RANDOM << 15 | RANDOM) % 12000))
    exec {lock}>"$locks/$port"
    if flock -n "$lock" && ! listening "$port"; then echo "$port" >"$dir/$1.port"; return; fi
    exec {lock}>&-
  done
  echo "cluster.sh: no free port between 20000 and 32000" >&2
  return 1
}
start() { # name, command: in a session of its own, so that Ctrl-C reaches the tests and not the servers beneath them
  local name=$1; shift
  ! alive "$name" || return 0
  setsid "$@" </dev/null >>"$dir/$name.log" 2>&1 &
  echo $! >"$dir/$name.pid"
}
wait_for() { # name, seconds, curl arguments
  local name=$1 tries=$(($2 * 20)); shift 2
  until curl -fsS -o /dev/null --max-time 2 "$@" 2>/dev/null && alive "$name"; do
    kill -0 "$(cat "$dir/$name.pid")" 2>/dev/null || { echo "$name died:" >&2; tail -n 5 "$dir/$name.log" >&2; return 1; }
    ((tries-- > 0)) || { echo "$name is not ready:" >&2; tail -n 5 "$dir/$name.log" >&2; return 1; }
    sleep 0.05
  done
}

make_keys() {
  local pki=$1
  mkdir -p "$pki"
  cd "$pki"
  key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2>/dev/null; }
  authority() { key "$1"; openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 3650 -out "$1.crt" 2>/dev/null; }
  sign() { # name, subject, authority, extensions
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" 2>/dev/null | openssl x509 -req -CA "$3.crt" -CAkey "$3.key" -CAcreateserial \
      -days 3650 -extfile <(printf '%b' "$4") -out "$1.crt" 2>/dev/null
  }
  authority server-ca
  authority client-ca
  sign apiserver /CN=kube-apiserver server-ca 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n'
  sign admin /O=system:masters/CN=admin client-ca 'extendedKeyUsage=clientAuth\n'
  sign plain /CN=plain client-ca 'extendedKeyUsage=clientAuth\n'
  openssl genrsa -out service-account.key 2048 2>/dev/null
  printf '%s\n' 'apiVersion: audit.k8s.io/v1' 'kind: Policy' 'omitStages: [RequestReceived]' 'rules: [{level: Metadata}]' >audit-policy.yaml
}

up() {
  local program pki=$dir/pki config=$dir/admin.kubeconfig client peer api user
  local -a extra=()
  : "${BIN:?the folder that build.sh printed}"
  for program in curl openssl flock setsid; do
    command -v "$program" >/dev/null || { echo "cluster.sh: $program is needed (packages curl, openssl, util-linux)" >&2; return 1; }
  done
  mkdir -p "$dir/etcd" "$locks"
  # Keys are made beside and moved in one step, so that an `up` that was cut short starts anew.
  [ -d "$pki" ] || { rm -rf "$pki.part"; (make_keys "$pki.part"); mv "$pki.part" "$pki"; }
  cd "$dir"
  reserve etcd; reserve etcd-peer; reserve kube-apiserver
  client=$(cat etcd.port) peer=$(cat etcd-peer.port) api=$(cat kube-apiserver.port)

  start etcd "$BIN/etcd" --name=test --data-dir="$dir/etcd" --listen-client-urls="http://127.0.0.1:$client" \
    --advertise-client-urls="http://127.0.0.1:$client" --listen-peer-urls="http://127.0.0.1:$peer" \
    --initial-advertise-peer-urls="http://127.0.0.1:$peer" --initial-cluster="test=http://127.0.0.1:$peer" --unsafe-no-fsync=true --log-level=warn
  wait_for etcd 20 "http://127.0.0.1:$client/health"

  # 1.37 refuses a loopback advertise address unless the endpoint reconciler is off
  read -ra extra <<<"${APISERVER_EXTRA:-}"
  start kube-apiserver "$BIN/kube-apiserver" --etcd-servers="http://127.0.0.1:$client" --bind-address=127.0.0.1 --secure-port="$api" \
    --endpoint-reconciler-type=none --cert-dir="$dir/certs" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/client-ca.crt" --authorization-mode=RBAC --service-account-issuer="https://127.0.0.1:$api" \
    --service-account-key-file="$pki/service-account.key" --service-account-signing-key-file="$pki/service-account.key" \
    --service-cluster-ip-range=10.0.0.0/24 --allow-privileged=true --disable-admission-plugins=ServiceAccount --etcd-count-metric-poll-period=0 \
    --audit-log-path="$dir/audit.log" --audit-policy-file="$pki/audit-policy.yaml" --v=1 ${extra[@]+"${extra[@]}"}
  wait_for kube-apiserver 60 --cacert "$pki/server-ca.crt" "https://127.0.0.1:$api/readyz" # readyz includes the RBAC bootstrap

  for user in admin plain; do
    printf '%s\n' 'apiVersion: v1' 'kind: Config' "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:$api', certificate-authority: '$pki/server-ca.crt'}}]" \
      "users: [{name: u, user: {client-certificate: '$pki/$user.crt', client-key: '$pki/$user.key'}}]" \
      'contexts: [{name: x, context: {cluster: c, user: u}}]' 'current-context: x' >"$user.kubeconfig"
  done

  if [ "${CONTROLLERS:-1}" = 1 ]; then
    start kube-controller-manager "$BIN/kube-controller-manager" --kubeconfig="$config" --authentication-kubeconfig="$config" \
      --authorization-kubeconfig="$config" --leader-elect=false --secure-port=0 --service-account-private-key-file="$pki/service-account.key" \
      --root-ca-file="$pki/server-ca.crt" --controllers=garbagecollector,namespace,deployment,replicaset,statefulset,job,cronjob,serviceaccount,endpointslice,root-ca-cert-publisher,clusterrole-aggregation
    start kwok "$BIN/kwok" --kubeconfig="$config" --manage-all-nodes=true --config="$BIN/kwok-stages.yaml"
    # Answers 409 when `up` continues with old data, hence without -f.
    curl -sS -o /dev/null --cacert "$pki/server-ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" -H 'Content-Type: application/json' \
      -d '{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1","labels":{"kubernetes.io/os":"linux"}}}' "https://127.0.0.1:$api/api/v1/nodes"
  fi
  echo "$config"
}

case $action in
  up)
    # What failed to start leaves its logs, and no servers.
    trap '[ $? -eq 0 ] || down' EXIT
    up ;;
  down) down ;;
  *) usage ;;
esac
