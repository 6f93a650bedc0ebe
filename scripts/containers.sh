# Sourced by the container checks. They set name, which distinguishes their containers from others, COMPOSE_FILE, SIM_SEED and
# pause, the shortest one between two requests in ms. If VERSION is set, the image fct-scraper:$VERSION and that of NATS exist and
# are not removed.
# shellcheck shell=bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! docker version >/dev/null 2>&1; then
  echo "******** SKIPPED: no Docker engine answers, so $0 tested nothing ********"
  exit 0
fi

scratch=$(mktemp -d)
given=${VERSION:-}
export VERSION=${VERSION:-$name-$$} COMPOSE_PROJECT_NAME=fct-$name-$$ COMPOSE_FILE SIM_SEED NATS_KEYS=$scratch/keys
export FCT_CONCURRENCY=4 FCT_DELAY_MIN=${pause}ms FCT_DELAY_MAX=$((pause + 20))ms SIM_MISSING=0.1 SIM_LATENCY=40ms

# The caller's own contexts and credentials must not connect the nats command to another server.
unset "${!NATS_URL@}" NATS_CREDS NATS_NKEY NATS_CONTEXT NATS_USER NATS_PASSWORD
export XDG_CONFIG_HOME=$scratch/config

fail() { echo "FAILED: $*" >&2; exit 1; }

# compose runs Docker Compose and prints its output only if it fails.
compose() { scripts/compose.sh "$@" >"$scratch/compose" 2>&1 || { cat "$scratch/compose"; return 1; }; }

# ours lists containers, networks or volumes of this project, such as "ours ps -aq".
ours() {
  local what=$1
  shift
  docker "$what" "$@" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
}

# build builds the images that were not given; clean removes those that did not exist before.
build() {
  nats_image=nats:$(go list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2 | sed s/^v//)-alpine
  grep -q "image: $nats_image\$" compose.yaml || fail "compose.yaml does not name $nats_image, the version in go.mod"
  had_nats=$(docker images -q "$nats_image")
  if [ -z "$given" ]; then scripts/images.sh "$VERSION" 2>"$scratch/images" || { cat "$scratch/images"; return 1; }; fi
  client=$(go tool -modfile=tools/go.mod -n nats)
}

# up FETCHERS builds and starts everything and waits until all services are healthy.
up() {
  build
  scripts/credentials.sh "$NATS_KEYS"
  scripts/tls.sh "$NATS_KEYS/tls"
  pick_port
  began=$SECONDS
  compose up -d --scale "fetcher=$1"
  serving generator prober fetcher classifier reporter
  echo "all services are ready ($((SECONDS - began)) s)"
}

# clean removes everything that was created, and prints the last log lines of the services after a failure.
clean() {
  local code=$?
  if [ "$code" -ne 0 ]; then scripts/compose.sh logs --tail 15 2>&1 | cut -c1-400 || true; fi
  # shellcheck disable=SC2046
  kill $(jobs -p) 2>/dev/null || true
  compose kill || true # the results have been copied out
  compose down -v --remove-orphans --timeout 10 || true
  if [ -z "$given" ]; then docker rmi "fct-scraper:$VERSION" >/dev/null 2>&1 || true; fi
  if [ -z "${had_nats:-}" ]; then docker rmi "${nats_image:-none}" >/dev/null 2>&1 || true; fi
  rm -rf "$scratch"
  return "$code"
}

# nothing_left cleans up and fails if something is left.
nothing_left() {
  local left
  clean
  trap - EXIT
  left=$(for what in 'ps -a' 'network ls' 'volume ls'; do
    # shellcheck disable=SC2086
    ours $what -q
  done)
  [ -z "$left" ] || fail "left behind: $left"
  echo "nothing left ($((SECONDS - began)) s)"
}

# pick_port sets NATS_PORT to a free port, which must stay the same when the server is restarted. It is below the usual range of
# ephemeral ports (from 32768), which any outgoing connection may take before the server does.
pick_port() {
  while :; do
    export NATS_PORT=$((20000 + RANDOM % 12768))
    (exec 3<>"/dev/tcp/127.0.0.1/$NATS_PORT") 2>/dev/null || return 0
  done
}

# operator and admin run the nats command with the key of that name.
operator() { "$client" --server "tls://127.0.0.1:$NATS_PORT" --tlsca "$NATS_KEYS/tls/ca.pem" --nkey "$NATS_KEYS/operator.nk" "$@" </dev/null; }
admin() { "$client" --server "tls://127.0.0.1:$NATS_PORT" --tlsca "$NATS_KEYS/tls/ca.pem" --nkey "$NATS_KEYS/admin.nk" "$@" </dev/null; }

# alive PID FILE fails when the process has ended, and prints its output.
alive() { kill -0 "$1" 2>/dev/null || { cat "$2"; fail 'a watching nats command has ended'; }; }

# deadline SECONDS WHAT fails when the script has run for longer than that.
deadline() { [ "$SECONDS" -lt "$1" ] || fail "waited too long: $2"; }

# serving waits until services are healthy. A service without a health check is ready when its log says so.
serving() {
  local until=$((SECONDS + 120)) service
  for service in "$@"; do
    until [ "$(health "$service")" = healthy ]; do
      deadline "$until" "$service does not serve"
      sleep 0.5
    done
  done
}

health() {
  local health
  health=$(docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$(of "$1")" 2>/dev/null) || return 0
  if [ -z "$health" ] && docker logs "$(of "$1")" 2>&1 | grep -q '"serve.ready"'; then health=healthy; fi
  echo "$health"
}

# of SERVICE is one running container of it.
of() { ours ps -q --filter "label=com.docker.compose.service=$1" | head -1; }

# kill_one kills one container of a service. The engine takes that for a decision of the operator and does not restart it;
# start_again does.
kill_one() { docker kill "$(of "$1")" >/dev/null; }
start_again() {
  local id
  for id in $(ours ps -aq --filter "label=com.docker.compose.service=$1" --filter status=exited); do docker start "$id" >/dev/null; done
}

# simulator PATH requests a page of the simulator, which listens only inside its container.
simulator() { docker run --rm --network "container:$(of sim)" --entrypoint wget "$nats_image" -qO- "http://127.0.0.1:8090$1"; }

# over RUN succeeds if a run has ended; finished RUN waits for that.
over() {
  admin req '$JS.API.STREAM.MSG.GET.FCT_EVENTS' "{\"last_by_subj\":\"batch.event.$1.finished\"}" --raw 2>/dev/null |
    jq -e '.message.data' >/dev/null 2>&1
}
finished() {
  local until=$((SECONDS + 240))
  until over "$1"; do
    deadline "$until" "run $1 does not end"
    sleep 0.5
  done
}

# same_as_truth RUN NUMBERS KILLS compares the results of a run over 1 to NUMBERS with the simulator's cases and with the run of
# one undisturbed process, and shows that it would have detected a difference.
same_as_truth() {
  local reporter
  echo "the run has ended ($((SECONDS - began)) s)"
  reporter=$(ours ps -aq --filter label=com.docker.compose.service=reporter | head -1)
  mkdir -p "$scratch/found"
  docker cp "$reporter:/output" "$scratch/found/output" >/dev/null
  simulator "/__truth?from=1&to=$2" >"$scratch/found/truth"
  simulator /__stats >"$scratch/found/stats"
  admin kv ls collected | sed -n 's/^ *IMM\.25\.\([0-9]*\) *$/\1/p' | sort -n >"$scratch/found/collected"
  undisturbed "$2" >"$scratch/found/undisturbed"
  scripts/same-as-truth.sh "$scratch/found" "$@" "$(jq -n "$pause / 1000")"
  scripts/same-as-truth.sh --self-test "$scratch/found" "$@" "$(jq -n "$pause / 1000")"
}

# undisturbed NUMBERS prints the ledger of one undisturbed process with an equal simulator of its own.
undisturbed() {
  local label=com.docker.compose.project=$COMPOSE_PROJECT_NAME sim alone
  sim=$(docker run -d --label "$label" --network none "fct-scraper:$VERSION" sim --addr 127.0.0.1:8090 --seed "$SIM_SEED" --missing "$SIM_MISSING" --max 12000)
  alone=$(docker create --label "$label" --network "container:$sim" "fct-scraper:$VERSION" batch 2025 --site sim --base-url http://127.0.0.1:8090 \
    --start 1 --max-cases "$1" --probe=false --delay-min 0 --delay-max 0)
  docker start -a "$alone" >"$scratch/alone" 2>&1 || { cat "$scratch/alone" >&2; return 1; }
  docker cp "$alone:/output/output" "$scratch/undisturbed" >/dev/null
  docker rm -f "$alone" "$sim" >/dev/null
  scripts/same-as-truth.sh --ledger "$scratch"/undisturbed/attempts_*.ndjson
}

trap clean EXIT
