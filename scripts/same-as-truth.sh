#!/usr/bin/env bash
# Compares the results of a run (ledger, records, keys, report, requests, pace) with the simulator's cases and an undisturbed run.
# Use: scripts/same-as-truth.sh FOLDER RUN NUMBERS KILLS PAUSE   FOLDER holds output/, truth, stats, collected, undisturbed
#      scripts/same-as-truth.sh --self-test FOLDER ...           checks that a small change of each of them is detected
#      scripts/same-as-truth.sh --ledger ATTEMPTS                prints the outcomes in an attempts file
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "FAILED: $*" >&2; exit 1; }

# ledger ATTEMPTS prints the outcome of each number, of which there must be exactly one.
ledger() {
  jq -r 'select(.outcome == "success" or .outcome == "no-record" or .outcome == "failed") | "\(.case_id) \(.outcome)"' "$1" | sort
}

# compare FOLDER RUN NUMBERS KILLS PAUSE
compare() {
  local folder=$1 run=$2 numbers=$3 most=$(($4 * 4 * 2)) pause=$5 own
  own=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$own'" EXIT
  jq -r --argjson n "$numbers" '(.exists[] | "IMM-\(.)-25 success"), ([range(1; $n + 1)] - .exists | .[] | "IMM-\(.)-25 no-record")' \
    "$folder/truth" | sort >"$own/want"
  ledger "$folder/output/attempts_$run.ndjson" >"$own/ledger"
  diff "$own/want" "$own/ledger" >"$own/diff" || { head "$own/diff"; fail 'the ledger differs from the cases of the simulator'; }
  diff "$folder/undisturbed" "$own/ledger" >"$own/diff" || { head "$own/diff"; fail 'the ledger differs from that of an undisturbed run'; }
  grep ' success$' "$own/want" >"$own/records"
  find "$folder/output/cases/IMM/25" -name '*.json' | sed 's|.*/||; s|\.json$| success|' | sort |
    diff - "$own/records" || fail 'the records differ from the cases of the simulator'
  seq "$numbers" | diff - "$folder/collected" || fail 'not every number is collected'
  jq -e --slurpfile truth "$folder/truth" --argjson n "$numbers" '.status == "completed" and .total == $n and .failed == 0 and
    .succeeded == ($truth[0].exists | length) and .no_record == $n - .succeeded' "$folder"/output/report-*.json >/dev/null ||
    fail "the report: $(jq -c '{status, reason, total, succeeded, no_record, failed}' "$folder"/output/report-*.json)"

  # A record takes one request, a no-record two. A kill may repeat the cases in flight, each retried once. Gaps are measured by the
  # senders: on a busy machine the simulator receives the first of two requests late.
  jq -r --slurpfile truth "$folder/truth" --slurpfile report <(cat "$folder"/output/report-*.json) --argjson n "$numbers" --argjson most "$most" --argjson pause "$pause" '
    (2 * $n - ($truth[0].exists | length)) as $least | (.requests - $least) as $more | $report[0].min_request_gap_seconds as $gap |
    "\(.requests) requests, \($more) of them repeated (at most \($most)), \(.max_in_flight) in flight at once; smallest gap between two starts \($gap) s, at the simulator \(.min_gap_seconds) s",
    (if $more < 0 or $more > $most then error("too many or too few requests") else empty end),
    (if .max_in_flight > 4 then error("too many at once") else empty end),
    (if $gap < $pause then error("two requests were closer to each other than \($pause) s") else empty end)' "$folder/stats" ||
    fail 'the requests are not as expected'
}

# spoil CHANGE changes one thing in a copy of the results, in the current folder.
spoil() {
  case $1 in
    'a record that the simulator does not have') edit truth '.exists |= .[1:]' ;;
    'a record that is missing') edit truth '.exists += [[range(1; 100000)] - .exists | .[0]]' ;;
    'an outcome that differs from the undisturbed run') sed -i '1s/ .*/ failed/' undisturbed ;;
    'an outcome that is there twice') sed -i '0,/"success"/{/"success"/p}' "$(echo output/attempts_*)" ;;
    'an outcome that is lost') sed -i '$d' "$(echo output/attempts_*)" ;;
    'a record without its file') find output/cases -name '*.json' -print -quit | xargs rm ;;
    'a key that is missing') sed -i 1d collected ;;
    'a report that counts one more') edit "$(echo output/report-*.json)" '.succeeded += 1' ;;
    'too many requests') edit stats '.requests += 100000' ;;
    'too few requests') edit stats '.requests = 1' ;;
    'too many at once') edit stats '.max_in_flight = 5' ;;
    'too short a pause') edit "$(echo output/report-*.json)" '.min_request_gap_seconds = 0.0599' ;;
    *) return 1 ;;
  esac
}
edit() { jq "$2" "$1" >edited && mv edited "$1"; }

# self_test FOLDER RUN NUMBERS KILLS PAUSE makes one change after the other, each of which must be detected.
self_test() {
  local found=$1 copy changes=0 change
  shift
  copy=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$copy'" EXIT
  while read -r change; do
    rm -rf "$copy/found"
    cp -al "$found" "$copy/found" # links: a changed file is written as a new one
    (cd "$copy/found" && spoil "$change") || fail "could not make the change: $change"
    if (compare "$copy/found" "$@") >/dev/null 2>&1; then fail "not detected: $change"; fi
    changes=$((changes + 1))
  done < <(declare -f spoil | sed -n "s/^ *'\(.*\)')\$/\1/p")
  [ "$changes" = 12 ] || fail "$changes changes were made"
  echo "$changes differences, one at a time, were each detected"
}

case $1 in
  --ledger) ledger "$2" ;;
  --self-test) shift; self_test "$@" ;;
  *) compare "$@" ;;
esac
