#!/usr/bin/env bash
# Brings five services, three fetchers among them, up on a cluster of three NATS servers and starts a run. While it goes on, KILLS (6)
# containers taken by chance are killed, one NATS server is restarted, the one that leads the ledger is killed, and one is cut off
# for 15 seconds, in an order of chance. What is left is held against what the pretend court knows and against an undisturbed run.
# Use: [KILLS=30] [SEED=n] [NUMBERS=n] scripts/check-cluster.sh   SEED, which is printed, gives the same blows in the same order
set -euo pipefail
name=cluster pause=250 COMPOSE_FILE=compose.yaml:compose.sim.yaml:compose.cluster.yaml SIM_SEED=8
# shellcheck source=scripts/containers.sh
. "$(dirname "$0")/containers.sh"

kills=${KILLS:-6} seed=${SEED:-$RANDOM}
# So many that the run outlasts the blows, at about 3.5 numbers a second: a blow by chance takes 2 s, the others 60 s together.
numbers=${NUMBERS:-$((260 + 8 * kills))}
servers=(nats nats-2 nats-3)
services=(fetcher/1 fetcher/2 fetcher/3 generator/1 prober/1 classifier/1 reporter/1)
echo "KILLS=$kills SEED=$seed NUMBERS=$numbers"

# leader STREAM is the service whose server leads a stream, as the admin is told through any of them; there may be none for seconds.
leader() {
  local until=$((SECONDS + 60)) name=
  until [[ $name == nats-* ]]; do
    deadline "$until" "$1 has no leader"
    name=$(admin stream info "$1" --json 2>/dev/null | jq -r .cluster.leader) || sleep 0.3
  done
  echo "${name/nats-1/nats}"
}
# done_of RUN is how many of its numbers are done, as its last event says.
done_of() {
  local count
  count=$(admin req '$JS.API.STREAM.MSG.GET.FCT_EVENTS' "{\"last_by_subj\":\"batch.event.$1.progress\"}" --raw 2>/dev/null |
    jq -rs '.[0].message.data // "e30=" | @base64d | fromjson | (.succeeded // 0) + (.no_record // 0)' 2>/dev/null) || count=0
  echo "$count"
}
# goes_on waits until 15 more numbers are done: the run has got over a blow.
goes_on() {
  local until=$((SECONDS + 120)) want=$(($1 + 15))
  until [ "$(done_of check)" -ge "$want" ] || over check; do deadline "$until" "$2, and $want numbers are not done"; sleep 0.3; done
  echo "$2, and the run went on ($((SECONDS - began)) s)"
}

# longer does it all again with twice as many numbers, once: how long blows take is the machine's affair, not the run's.
longer() {
  echo "the run was over before the last $1 blows"
  [ -z "${LONGER:-}" ] || fail "$numbers numbers are too few: give more NUMBERS"
  nothing_left
  LONGER=yes VERSION=$given SEED=$seed NUMBERS=$((2 * numbers)) exec scripts/check-cluster.sh
}

# The blows. By chance is meant what RANDOM gives after the seed.
kill_by_chance() {
  local service=${services[RANDOM % ${#services[@]}]} id
  id=$(ours ps -aq --filter "label=com.docker.compose.service=${service%/*}" --filter "label=com.docker.compose.container-number=${service#*/}")
  docker kill "$id" >/dev/null
  docker start "$id" >/dev/null
  killed="$killed $service"
  sleep "$((RANDOM % 2)).$((RANDOM % 10))" # the blows come at moments of chance
}
restart_server() {
  local server=${servers[RANDOM % 3]} before
  before=$(done_of check)
  docker restart -t 10 "$(of "$server")" >/dev/null
  goes_on "$before" "$server was restarted"
}
# The first server is the one that this machine has a port to, so it is asked, and another one killed: the leader is moved there.
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
  goes_on "$before" "the leader, $victim, was killed"
  start_again "$victim"
}
cut_off() {
  local server=${servers[1 + RANDOM % 2]} network=${COMPOSE_PROJECT_NAME}_default id before
  id=$(of "$server")
  before=$(done_of check)
  docker network disconnect "$network" "$id"
  sleep 15 # the time of the partition is what is tried
  docker network connect --alias "$server" "$network" "$id"
  goes_on "$before" "$server was cut off for 15 s"
}

up 3
for stream in FCT_JOBS FCT_OUTCOMES KV_collected; do
  domain=()
  if [ "$stream" = FCT_JOBS ]; then domain=(--js-domain jobs); fi
  admin "${domain[@]}" stream info "$stream" --json | jq -e '.config.num_replicas == 3' >/dev/null || fail "$stream is not kept three times"
done
operator pub batch.start "{\"run_id\":\"check\",\"year\":\"25\",\"start\":1,\"max_cases\":$numbers,\"probe\":false}" 2>/dev/null
goes_on 0 'it was started'

RANDOM=$seed killed=
blows=(restart_server kill_leader cut_off)
for ((i = 0; i < kills; i++)); do blows+=(kill_by_chance); done
while [ "${#blows[@]}" -gt 0 ]; do
  i=$((RANDOM % ${#blows[@]})) blow=${blows[i]}
  blows=("${blows[@]:0:i}" "${blows[@]:i+1}")
  if over check; then longer $((${#blows[@]} + 1)); fi
  # Two of three servers must be up and know what the third does, else nothing can go on.
  if [ "$blow" != kill_by_chance ]; then serving "${servers[@]}"; fi
  "$blow"
done
echo "killed:$killed ($((SECONDS - began)) s)"

finished check
same_as_truth check "$numbers" "$kills"
nothing_left
