#!/usr/bin/env bash
# Starts the containers and a run with the nats command, kills containers and scales fetchers during the run, and compares the
# output volume with the simulator's cases. Stops and removes everything that it created.
set -euo pipefail
numbers=200 name=check pause=60 COMPOSE_FILE=compose.yaml:compose.sim.yaml SIM_SEED=7
# shellcheck source=scripts/containers.sh
. "$(dirname "$0")/containers.sh"

up 1

# By default a container is reachable only from this machine, and can write only to its volume.
for container in $(ours ps -aq); do
  docker inspect "$container" | jq -e '.[0] | .HostConfig.ReadonlyRootfs and (.HostConfig.CapDrop == ["ALL"]) and
    ([.NetworkSettings.Ports[]? | .[]? | .HostIp] | all(. == "127.0.0.1")) and (.HostConfig.RestartPolicy.Name == "unless-stopped" or .Config.Cmd == ["setup"] or .Config.Cmd == ["version"]) and
    .Config.User == "65532:65532"' >/dev/null || fail "$(docker inspect -f '{{.Name}}' "$container") is too open"
done

# The server accepts only TLS, and a client without its CA refuses it.
exec 3<>"/dev/tcp/127.0.0.1/$NATS_PORT"
read -r -t 10 info <&3
exec 3>&-
[[ $info == *'"tls_required":true'* ]] || fail "the server accepts connections without TLS: $info"
if "$client" --server "tls://127.0.0.1:$NATS_PORT" --nkey "$NATS_KEYS/operator.nk" pub batch.start x </dev/null >/dev/null 2>&1; then
  fail 'a client without the CA accepted the server'
fi

# check_metrics NUMBER reads the metrics of that many containers from this machine, each at an address of its own.
check_metrics() {
  local role at
  scripts/services.sh metrics >"$scratch/metrics"
  while read -r role at; do
    curl -fsS --noproxy '*' --max-time 5 -o "$scratch/scraped" "$at" 2>"$scratch/curl" || fail "no metrics of the $role at '$at': $(cat "$scratch/curl")"
    grep -q '^# TYPE go_goroutines' "$scratch/scraped" || fail "no metrics of the $role at '$at' but $(head -3 "$scratch/scraped")"
  done <"$scratch/metrics"
  [ "$(sort -u "$scratch/metrics" | wc -l)" = "$1" ] || fail "the number of containers with metrics is not $1: $(cat "$scratch/metrics")"
}
check_metrics 5
echo "this machine reads the metrics of every service ($((SECONDS - began)) s)"

# Not through a function: kill would end the shell around it, and not the command.
"$client" --server "tls://127.0.0.1:$NATS_PORT" --tlsca "$NATS_KEYS/tls/ca.pem" --nkey "$NATS_KEYS/operator.nk" sub 'batch.event.>' </dev/null >"$scratch/events" 2>&1 &
watching=$!
until grep -q Subscribing "$scratch/events"; do alive "$watching" "$scratch/events"; sleep 0.1; done
operator pub batch.start "{\"run_id\":\"check\",\"year\":\"25\",\"start\":1,\"max_cases\":$numbers}"
until grep -q 'batch.event.check.progress' "$scratch/events"; do alive "$watching" "$scratch/events"; sleep 0.1; done
echo "an operator receives its start and progress ($((SECONDS - began)) s)"

kills=0
for service in fetcher classifier reporter generator prober nats; do
  kill_one "$service"
  kills=$((kills + 1))
  if [ "$service" = fetcher ]; then compose up -d --no-recreate --scale fetcher=3; else start_again "$service"; fi
done
[ "$(ours ps -q --filter label=com.docker.compose.service=fetcher | wc -l)" = 3 ] || fail 'there are not three fetchers'
echo "$kills containers killed, three fetchers ($((SECONDS - began)) s)"

finished check
serving generator prober fetcher classifier reporter
check_metrics 7
grep -q 'batch.event.check.started' "$scratch/events" || fail 'the operator did not receive the start'
kill "$watching"
wait "$watching" 2>/dev/null || true
same_as_truth check "$numbers" "$kills"
nothing_left
