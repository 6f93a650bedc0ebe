#!/usr/bin/env bash
# Brings the containers up on a cluster of three NATS servers, kills the leader in the middle of a run, cuts another server off
# for 15 seconds, and holds what lies in the output volume against what the pretend court knows.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! docker version >/dev/null 2>&1; then
  echo '******** SKIPPED: no Docker engine answers, so the cluster was not tried ********'
  exit 0
fi

numbers=600
scratch=$(mktemp -d)
export VERSION=cluster-$$ COMPOSE_PROJECT_NAME=fct-cluster-$$ COMPOSE_FILE=compose.yaml:compose.sim.yaml:compose.cluster.yaml
export NATS_KEYS=$scratch/keys
export FCT_CONCURRENCY=4 FCT_DELAY_MIN=60ms FCT_DELAY_MAX=80ms SIM_SEED=8 SIM_MISSING=0.1 SIM_LATENCY=40ms
# shellcheck source=scripts/containers.sh
. scripts/containers.sh
trap clean EXIT

build
scripts/credentials.sh "$NATS_KEYS"
pick_port
compose up -d
serving generator prober fetcher classifier reporter
echo "everything serves ($SECONDS s)"

# leader STREAM is the service whose server leads a stream, as the admin is told through any of them.
leader() {
  local name
  name=$(admin stream info "$1" --json | jq -r .cluster.leader)
  echo "${name/nats-1/nats}"
}
progress() {
  local until=$((SECONDS + 120))
  until [ "$(done_of check)" -ge "$1" ]; do deadline "$until" "$1 numbers are not done"; sleep 0.5; done
}
done_of() {
  admin req '$JS.API.STREAM.MSG.GET.FCT_EVENTS' "{\"last_by_subj\":\"batch.event.$1.progress\"}" --raw 2>/dev/null |
    jq -rs '.[0].message.data // "e30=" | @base64d | fromjson | (.succeeded // 0) + (.no_record // 0)' 2>/dev/null || echo 0
}

for stream in FCT_JOBS FCT_OUTCOMES KV_collected; do
  admin stream info "$stream" --json | jq -e '.config.num_replicas == 3' >/dev/null || fail "$stream is not kept three times"
done
operator pub batch.start "{\"run_id\":\"check\",\"year\":\"25\",\"start\":1,\"max_cases\":$numbers,\"probe\":false}"
progress 50

# The first server is the one that this machine has a port to, so it is asked, and another one killed: the leader is moved there.
victim=$(leader FCT_OUTCOMES)
if [ "$victim" = nats ]; then
  admin stream cluster step-down FCT_OUTCOMES >/dev/null
  victim=$(leader FCT_OUTCOMES)
fi
[ "$victim" != nats ] || fail 'the leader did not move'
before=$(done_of check)
kill_one "$victim"
progress $((before + 80))
echo "the leader, $victim, was killed and the run went on ($SECONDS s)"
start_again "$victim"
serving "$victim"

other=nats-2
if [ "$victim" = nats-2 ]; then other=nats-3; fi
network=${COMPOSE_PROJECT_NAME}_default
id=$(of "$other")
before=$(done_of check)
docker network disconnect "$network" "$id"
sleep 15 # the time of the partition is what is tried
docker network connect --alias "$other" "$network" "$id"
progress $((before + 80))
echo "$other was cut off for 15 s and the run went on ($SECONDS s)"

finished check
same_as_truth check "$numbers" 4
clean
trap - EXIT
left=$(for what in 'ps -a' 'network ls' 'volume ls'; do ours $what -q; done)
[ -z "$left" ] || fail "left behind: $left"
echo "nothing left ($SECONDS s)"
