#!/usr/bin/env bash
# Runs the services as processes of this machine, for scripts/services.sh where there is no Docker engine.
# Use: scripts/local.sh up | down | logs [service] | ps | metrics | scale service=n. All files are in run/, pid files included.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/freeport.sh
. scripts/freeport.sh
run=${RUN_FOLDER:-$PWD/run}
port=${NATS_PORT:-} monitor=${MONITOR_PORT:-} court=${SIM_PORT:-}
# shellcheck source=/dev/null
if [ -e "$run/ports" ]; then . "$run/ports"; fi # of running services
roles='generator prober fetcher classifier reporter'

# born PID prints when a process started: a pid that was reused since must not be killed.
born() { ps -o lstart= -p "$1" 2>/dev/null | tr -s ' '; }

# begin NAME COMMAND... starts a process that outlives this script.
begin() {
  local name=$1
  shift
  nohup "$@" >>"$run/$name.log" 2>&1 </dev/null &
  printf '%s\n%s\n' "$!" "$(born $!)" >"$run/$name.pid"
}

# alive NAME succeeds if the process that was started under a name is running, and prints its pid.
alive() {
  local pid since
  [ -e "$run/$1.pid" ] || return 1
  { read -r pid && read -r since; } <"$run/$1.pid" && [ "$(born "$pid")" = "$since" ] && echo "$pid"
}

# serve ROLE NAME starts a service under a name of its own.
serve() {
  FCT_NATS_URL="nats://127.0.0.1:$port" FCT_NATS_NKEY="$PWD/deploy/nats/keys/$1.nk" FCT_SITE=sim FCT_BASE_URL="http://127.0.0.1:$court" \
    FCT_DELAY_MIN="${FCT_DELAY_MIN:-0}" FCT_DELAY_MAX="${FCT_DELAY_MAX:-20ms}" FCT_OUTPUT="$run/output" FCT_HTTP_ADDR=127.0.0.1:0 \
    FCT_LOG_FORMAT=json begin "$2" "$run/fct-scraper" serve "$1"
}

# await NAME WORD waits until the log of a process contains a word.
await() {
  until grep -q "$2" "$run/$1.log"; do
    alive "$1" >/dev/null || { tail -5 "$run/$1.log"; echo "$1 has ended"; return 1; }
    sleep 0.2
  done
}

# finish NAME stops a process and waits until it has finished its work.
finish() {
  local pid i
  pid=$(alive "$1") || { rm -f "$run/$1.pid"; return 0; }
  kill "$pid"
  for ((i = 0; i < 400; i++)); do
    alive "$1" >/dev/null || break
    sleep 0.1
  done
  if alive "$1" >/dev/null; then kill -9 "$pid"; fi
  rm -f "$run/$1.pid"
}

names() { for file in "$run"/*.pid; do if [ -e "$file" ]; then basename "$file" .pid; fi; done; }

up() {
  if [ -n "$(names)" ]; then echo 'already started: scripts/local.sh ps, or down first'; return 1; fi
  # If something does not start, stop the rest.
  trap '[ $? = 0 ] || down' EXIT
  mkdir -p "$run"
  local name role
  local -A usual=([port]=4222 [monitor]=8222 [court]=8090)
  for name in "${!usual[@]}"; do
    if [ -z "${!name}" ]; then
      printf -v "$name" %s "$(free_port "${usual[$name]}")"
      report_port "${usual[$name]}" "${!name}"
    fi
  done
  printf 'port=%s monitor=%s court=%s\n' "$port" "$monitor" "$court" >"$run/ports"
  CGO_ENABLED=0 go build -trimpath -o "$run/fct-scraper" ./services/fct-scraper
  CGO_ENABLED=0 go build -trimpath -o "$run/nats-server" github.com/nats-io/nats-server/v2
  scripts/credentials.sh
  begin nats "$run/nats-server" -c deploy/nats/nats.conf -a 127.0.0.1 -p "$port" -m "$monitor" -sd "$run/store"
  await nats 'Server is ready'
  FCT_NATS_URL="nats://127.0.0.1:$port" FCT_NATS_NKEY="$PWD/deploy/nats/keys/admin.nk" "$run/fct-scraper" setup
  begin sim "$run/fct-scraper" sim --addr "127.0.0.1:$court" --latency 25ms
  await sim http
  for role in $roles; do serve "$role" "$role-1"; done
  for role in $roles; do await "$role-1" serve.ready; done
  cat <<TEXT

Started: NATS at 127.0.0.1:$port, the services $roles, and the simulator; task down stops them.
Start a run and watch it (the nats command: go tool -modfile=tools/go.mod nats):
  export NATS_URL=nats://127.0.0.1:$port NATS_NKEY=$PWD/deploy/nats/keys/operator.nk
  nats sub 'batch.event.>' &
  nats pub batch.start '{"year":"25","start":1,"max_cases":200}'
Its files: $run/output
TEXT
}

# down stops what up and scale have started, the server last, and removes the data.
down() {
  local name
  for name in $(names | grep -v -x -e nats -e sim) sim nats; do finish "$name"; done
  rm -rf "$run"
  echo 'stopped, nothing left'
}

scale() {
  local role=${1%%=*} want=${1#*=} n
  case " $roles " in *" $role "*) ;; *) echo "$role: allowed are $roles"; return 2 ;; esac
  for ((n = 1; n <= want; n++)); do
    alive "$role-$n" >/dev/null || { serve "$role" "$role-$n"; await "$role-$n" serve.ready; }
  done
  while [ -e "$run/$role-$n.pid" ]; do finish "$role-$n"; n=$((n + 1)); done
}

# metrics prints one line for each service: the address of its metrics.
metrics() {
  local name
  for name in $(names | grep -v -x -e nats -e sim); do
    echo "$name http://127.0.0.1:$(listening_port <"$run/$name.log")/metrics"
  done
}

case ${1:-} in
  metrics) metrics ;;
  up)
    if [ -n "${2:-}" ]; then echo "$2: without a Docker engine only the simulator is supported" >&2; exit 2; fi
    up
    ;;
  down) down ;;
  logs) tail -n 100 "$run/${2:-}"*.log ;;
  ps) for name in $(names); do printf '%-14s %s\n' "$name" "$(alive "$name" || echo ended)"; done ;;
  scale) scale "${2:?service=n, such as fetcher=3}" ;;
  *) echo 'allowed are up, down, logs, ps, metrics, scale' >&2; exit 2 ;;
esac
