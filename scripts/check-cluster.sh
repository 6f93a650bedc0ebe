#!/usr/bin/env bash
# Starts the five services, with three fetchers, on a cluster of three NATS servers, and starts a run. During the run, KILLS (6)
# random containers are killed, one NATS server is restarted, the leader of the ledger is killed, and one server is cut off for 15
# seconds, in random order. The results are compared with the simulator's cases and with an undisturbed run.
# Use: [KILLS=30] [SEED=n] [NUMBERS=n] scripts/check-cluster.sh   The same SEED (it is printed) gives the same faults in the same order
set -euo pipefail
name=cluster pause=250 COMPOSE_FILE=compose.yaml:compose.sim.yaml:compose.cluster.yaml SIM_SEED=8
# shellcheck source=scripts/containers.sh
. "$(dirname "$0")/containers.sh"

kills=${KILLS:-6} seed=${SEED:-$RANDOM}
# Enough for the run to outlast the faults, at about 3.5 numbers a second: a random kill takes 2 s, the others 60 s together.
numbers=${NUMBERS:-$((260 + 8 * kills))}
servers=(nats nats-2 nats-3)
services=(fetcher/1 fetcher/2 fetcher/3 generator/1 prober/1 classifier/1 reporter/1)
echo "KILLS=$kills SEED=$seed NUMBERS=$numbers"

# leader STREAM prints the service whose server leads a stream. There may be no leader for seconds.
leader() {
  local until=$((SECONDS + 60)) name=
  until [[ $name == nats-* ]]; do
    deadline "$until" "$1 has no leader"
    name=$(admin stream info "$1" --json 2>/dev/null | jq -r .cluster.leader) || sleep 0.3
  done
  echo "${name/nats-1/nats}"
}
# done_of RUN prints how many of its numbers are done, from its last progress event.
done_of() {
  local count
  count=$(admin req '$JS.API.STREAM.MSG.GET.FCT_EVENTS' "{\"last_by_subj\":\"batch.event.$1.progress\"}" --raw 2>/dev/null |
    jq -rs '.[0].message.data // "e30=" | @base64d | fromjson | (.succeeded // 0) + (.no_record // 0)' 2>/dev/null) || count=0
  echo "$count"
}
# recovered BEFORE FAULT waits until 15 more numbers are done: the run has recovered from the fault.
recovered() {
  local until=$((SECONDS + 120)) want=$(($1 + 15))
  until [ "$(done_of check)" -ge "$want" ] || over check; do deadline "$until" "$2, and $want numbers are not done"; sleep 0.3; done
  echo "$2, and the run continued ($((SECONDS - began)) s)"
}

# longer repeats the check once with twice as many numbers: how long the faults take depends on the machine.
longer() {
  echo "the run ended before the last $1 faults"
  [ -z "${LONGER:-}" ] || fail "$numbers numbers are too few: give more NUMBERS"
  nothing_left
  LONGER=yes VERSION=$given SEED=$seed NUMBERS=$((2 * numbers)) exec scripts/check-cluster.sh
}

# The faults. What is random comes from RANDOM after the seed.
kill_random() {
  local service=${services[RANDOM % ${#services[@]}]} id
  id=$(ours ps -aq --filter "label=com.docker.compose.service=${service%/*}" --filter "label=com.docker.compose.container-number=${service#*/}")
  docker kill "$id" >/dev/null
  docker start "$id" >/dev/null
  killed="$killed $service"
  sleep "$((RANDOM % 2)).$((RANDOM % 10))" # faults come at random times
}
restart_server() {
  local server=${servers[RANDOM % 3]} before
  before=$(done_of check)
  docker restart -t 10 "$(of "$server")" >/dev/null
  recovered "$before" "$server was restarted"
}
# Only the first server has a port on this machine. The leader is moved to another one, which is killed.
kill_leader() {
  local until=$((SECONDS + 60)) victim before
  victim=$(leader FCT_OUTCOMES)
  until [ "$victim" != nats ]; do
    deadline "$until" 'the leader does not move'
    admin stream cluster step-down FCT_OUTCOMES >/dev/null 2>&1 || true
    victim=$(leader FCT_OUTCOMES)
  done
  before=$(done_of check)
  kill_one "$victim"
  recovered "$before" "the leader, $victim, was killed"
  start_again "$victim"
}
cut_off() {
  local server=${servers[1 + RANDOM % 2]} network=${COMPOSE_PROJECT_NAME}_default id before
  id=$(of "$server")
  before=$(done_of check)
  docker network disconnect "$network" "$id"
  sleep 15 # the length of the partition is part of the test
  docker network connect --alias "$server" "$network" "$id"
  recovered "$before" "$server was cut off for 15 s"
}

up 3
for stream in FCT_JOBS FCT_OUTCOMES KV_collected; do
  domain=()
  if [ "$stream" = FCT_JOBS ]; then domain=(--js-domain jobs); fi
  admin "${domain[@]}" stream info "$stream" --json | jq -e '.config.num_replicas == 3' >/dev/null || fail "$stream does not have three replicas"
done
operator pub batch.start "{\"run_id\":\"check\",\"year\":\"25\",\"start\":1,\"max_cases\":$numbers,\"probe\":false}" 2>/dev/null
recovered 0 'it was started'

RANDOM=$seed killed=
faults=(restart_server kill_leader cut_off)
for ((i = 0; i < kills; i++)); do faults+=(kill_random); done
while [ "${#faults[@]}" -gt 0 ]; do
  i=$((RANDOM % ${#faults[@]})) fault=${faults[i]}
  faults=("${faults[@]:0:i}" "${faults[@]:i+1}")
  if over check; then longer $((${#faults[@]} + 1)); fi
  # Two of three servers must be up and know the state of the third one; otherwise nothing works.
  if [ "$fault" != kill_random ]; then serving "${servers[@]}"; fi
  "$fault"
done
echo "killed:$killed ($((SECONDS - began)) s)"

finished check
same_as_truth check "$numbers" "$kills"
nothing_left
