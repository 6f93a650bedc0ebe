# Parts of the checks of the containers; read by them, not run. They set COMPOSE_PROJECT_NAME, VERSION, NATS_KEYS and scratch.
# shellcheck shell=bash

# The operator's own contexts and credentials must not lead the nats command to another server.
unset "${!NATS_URL@}" NATS_CREDS NATS_NKEY NATS_CONTEXT NATS_USER NATS_PASSWORD
export XDG_CONFIG_HOME=$scratch/config

fail() { echo "FAILED: $*" >&2; exit 1; }

# compose runs quietly; what it said is shown when it fails.
compose() { scripts/compose.sh "$@" >"$scratch/compose" 2>&1 || { cat "$scratch/compose"; return 1; }; }

# ours lists containers, networks or volumes of this project: ours ps -aq.
ours() {
  local what=$1
  shift
  docker "$what" "$@" --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
}

# build makes the images, of which clean removes those that were not there before.
build() {
  nats_image=nats:$(go list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2 | sed s/^v//)-alpine
  grep -q "image: $nats_image\$" compose.yaml || fail "compose.yaml does not name $nats_image, the version in go.mod"
  had_nats=$(docker images -q "$nats_image")
  scripts/images.sh "$VERSION" 2>"$scratch/images" || { cat "$scratch/images"; return 1; }
  client=$(go tool -modfile=tools/go.mod -n nats)
}

# clean removes whatever was made, and shows the last words of the services when something went wrong.
clean() {
  local code=$?
  if [ "$code" -ne 0 ]; then scripts/compose.sh logs --tail 15 2>&1 | cut -c1-400 || true; fi
  kill $(jobs -p) 2>/dev/null || true
  compose down -v --remove-orphans --timeout 10 || true
  docker rmi "fct-scraper:$VERSION" >/dev/null 2>&1 || true
  if [ -z "${had_nats:-}" ]; then docker rmi "${nats_image:-none}" >/dev/null 2>&1 || true; fi
  rm -rf "$scratch"
  return "$code"
}

# pick_port takes a port for the server that nobody listens on: it must stay the same when the server is started again.
pick_port() {
  while :; do
    export NATS_PORT=$((20000 + RANDOM % 20000))
    (exec 3<>"/dev/tcp/127.0.0.1/$NATS_PORT") 2>/dev/null || return 0
  done
}

# operator and admin run the nats command as those.
operator() { "$client" --server "nats://127.0.0.1:$NATS_PORT" --nkey "$NATS_KEYS/operator.nk" "$@" </dev/null; }
admin() { "$client" --server "nats://127.0.0.1:$NATS_PORT" --nkey "$NATS_KEYS/admin.nk" "$@" </dev/null; }

# alive PID FILE ends the check when a process has ended, and shows what it said.
alive() { kill -0 "$1" 2>/dev/null || { cat "$2"; fail 'a watching nats command has ended'; }; }

# deadline SECONDS WHAT ends the check when it has taken longer than that.
deadline() { [ "$SECONDS" -lt "$1" ] || fail "waited too long: $2"; }

# serving waits until services are healthy; one that is not asked for its health says itself that it serves.
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

# kill_one kills one container of a service in the middle of its work; the engine takes that for the operator's will and does
# not start it again, which start_again does.
kill_one() { docker kill "$(of "$1")" >/dev/null; }
start_again() {
  local id
  for id in $(ours ps -aq --filter "label=com.docker.compose.service=$1" --filter status=exited); do docker start "$id" >/dev/null; done
}

# court PATH asks the pretend court, which listens inside its container alone.
court() { docker run --rm --network "container:$(of sim)" --entrypoint wget "$nats_image" -qO- "http://127.0.0.1:8090$1"; }

# finished RUN waits for the finished event of a run.
finished() {
  local until=$((SECONDS + 240))
  until admin req '$JS.API.STREAM.MSG.GET.FCT_EVENTS' "{\"last_by_subj\":\"batch.event.$1.finished\"}" --raw 2>/dev/null |
    jq -e '.message.data' >/dev/null 2>&1; do
    deadline "$until" "run $1 does not end"
    sleep 0.5
  done
}

# same_as_truth RUN NUMBERS KILLS holds report, records, attempts and keys of a run over 1 to NUMBERS against the court.
same_as_truth() {
  local run=$1 numbers=$2 kills=$3 reporter
  reporter=$(ours ps -aq --filter label=com.docker.compose.service=reporter | head -1)
  docker cp "$reporter:/output" "$scratch/output" >/dev/null
  court "/__truth?from=1&to=$numbers" >"$scratch/truth"
  court /__stats >"$scratch/stats"
  jq -r '.exists[] | "IMM-\(.)-25 success"' "$scratch/truth" >"$scratch/want"
  jq -r --argjson n "$numbers" '[range(1; $n + 1)] - .exists | .[] | "IMM-\(.)-25 no-record"' "$scratch/truth" >>"$scratch/want"
  sort -o "$scratch/want" "$scratch/want"

  # The first final word on a number counts, and there is one for each.
  jq -r 'select(.outcome == "success" or .outcome == "no-record" or .outcome == "failed") | "\(.case_id) \(.outcome)"' \
    "$scratch/output/attempts_$run.ndjson" | sort >"$scratch/ledger"
  diff "$scratch/want" "$scratch/ledger" >"$scratch/diff" || { head "$scratch/diff"; fail 'the ledger is not what the court knows'; }
  find "$scratch/output/cases/IMM/25" -name '*.json' | sed 's|.*/||; s|\.json$| success|' | sort |
    diff - <(grep ' success$' "$scratch/want") || fail 'the records are not those of the court'
  admin kv ls collected | sed -n 's/^ *IMM\.25\.\([0-9]*\) *$/\1/p' | sort -n | diff - <(seq "$numbers") || fail 'not every number is collected'
  jq -e --slurpfile truth "$scratch/truth" --argjson n "$numbers" '.status == "completed" and .total == $n and .failed == 0 and
    .succeeded == ($truth[0].exists | length) and .no_record == $n - .succeeded' "$scratch"/output/report-*.json >/dev/null ||
    fail "the report: $(jq -c '{status, reason, total, succeeded, no_record, failed}' "$scratch"/output/report-*.json)"

  # A docket alone proves a record, a no-record takes two calls; a kill may cost what was under way, retried once.
  jq -r '"smallest gap between two starts by the fetchers: \(.min_request_gap_seconds) s"' "$scratch"/output/report-*.json
  jq -r --slurpfile truth "$scratch/truth" --argjson n "$numbers" --argjson most "$((kills * FCT_CONCURRENCY * 2))" '
    (2 * $n - ($truth[0].exists | length)) as $least | (.requests - $least) as $more |
    "\(.requests) requests, \($more) of them again (at most \($most)), \(.max_in_flight) in flight at once, smallest gap at the court \(.min_gap_seconds) s",
    (if $more > $most or .max_in_flight > 4 then error("too many") else empty end)' "$scratch/stats" || fail 'more was asked than was to be'
}
