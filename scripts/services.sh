#!/usr/bin/env bash
# Starts, shows, scales and stops the services as separate processes over NATS, with the simulator: in containers if a Docker
# engine answers, otherwise as processes of this machine, which behave alike.
# Use: scripts/services.sh up [court] | down [--volumes] | logs [service] | ps | metrics | scale service=n
#   "up court" downloads from the real site, FCT_SITE; "down" keeps its data unless --volumes is given
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?up, down, logs, ps, metrics or scale}
shift

if ! docker version >/dev/null 2>&1; then
  if [ "$what" = up ]; then echo 'No Docker engine answers: the services are started as processes of this machine.'; fi
  exec scripts/local.sh "$what" "$@"
fi

# shellcheck source=scripts/freeport.sh
. scripts/freeport.sh
compose=scripts/compose.sh
roles='generator prober fetcher classifier reporter'

# ready waits until the generator is healthy.
ready() {
  local id i
  id=$($compose ps -q generator)
  for ((i = 0; i < 600; i++)); do
    if [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]; then return 0; fi
    sleep 0.2
  done
  $compose logs --tail 20 generator
  echo 'the generator is not ready' >&2
  return 1
}

# metrics prints one line for each running container of a service: the address of its metrics on this machine.
metrics() {
  local role id court inside at
  court=$($compose ps -q sim 2>/dev/null || true)
  for role in $roles; do
    for id in $($compose ps -q "$role"); do
      inside=$(docker logs "$id" 2>&1 | listening_port)
      at=$(docker port "$id" "$inside/tcp" 2>/dev/null || docker port "${court:-none}" "$inside/tcp" 2>/dev/null || true)
      at=${at%%$'\n'*} # the first of several
      echo "$role ${at:+http://$at/metrics}"
    done
  done
}

if [ "${1:-}" = court ]; then
  if [ "$what" = up ]; then : "${FCT_CONTACT:?give an e-mail address or URL at which the site can reach you}"; fi
  export COMPOSE_FILE=compose.yaml:compose.court.yaml
  shift
fi
# A running server keeps its port.
NATS_PORT=${NATS_PORT:-$($compose port nats 4222 2>/dev/null | sed -n 's/.*://p' || true)}
export NATS_PORT
case $what in
  up)
    if [ -z "$NATS_PORT" ]; then
      NATS_PORT=$(free_port 4222)
      report_port 4222 "$NATS_PORT"
    fi
    if [ -z "$($compose ps -q)" ]; then # if something does not start, remove the rest
      trap '[ $? = 0 ] || $compose down --remove-orphans' EXIT
    fi
    VERSION=$(git describe --tags --always --dirty 2>/dev/null || echo devel)
    export VERSION
    scripts/images.sh 2>&1 | { grep -v -e '^DEPRECATED' -e buildx -e '^ *$' || true; }
    scripts/credentials.sh
    scripts/tls.sh
    $compose up -d "$@"
    # A start that is published before its stream exists would be lost silently.
    ready
    cat <<TEXT

Started: NATS at 127.0.0.1:$NATS_PORT, the services generator, prober, fetcher, classifier and reporter$(
      [ -n "${COMPOSE_FILE:-}" ] || echo ', and the simulator')
Start a run and watch it (the nats command: go tool -modfile=tools/go.mod nats):
  export NATS_URL=tls://127.0.0.1:$NATS_PORT NATS_CA=$PWD/deploy/nats/keys/tls/ca.pem NATS_NKEY=$PWD/deploy/nats/keys/operator.nk
  nats sub 'batch.event.>' &
  nats pub batch.start '{"year":"25","start":1,"max_cases":200}'
Its files:
  docker cp "\$(scripts/compose.sh ps -q reporter)":/output/. output
TEXT
    ;;
  down)
    # The volumes of a simulator are removed with it. Those of a real site hold hours of downloads.
    if [ -n "$($compose ps -q sim 2>/dev/null)" ]; then set -- --volumes "$@"; fi
    $compose down --remove-orphans "$@"
    ;;
  metrics) metrics ;;
  logs | ps) $compose "$what" "$@" ;;
  scale)
    role=${1:?service=n, such as fetcher=3}
    case " $roles " in *" ${role%%=*} "*) ;; *) echo "${role%%=*}: allowed are $roles" >&2; exit 2 ;; esac
    $compose up -d --no-recreate --scale "$1"
    ;;
  *)
    echo "$what: allowed are up, down, logs, ps, metrics, scale" >&2
    exit 2
    ;;
esac
