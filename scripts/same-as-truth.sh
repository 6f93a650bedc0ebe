#!/usr/bin/env bash
# Holds what a run left against what the court knows and against an undisturbed run: its ledger, records, keys, report, requests and pace.
# Use: scripts/same-as-truth.sh FOLDER RUN NUMBERS KILLS PAUSE   FOLDER holds output/, truth, stats, collected, undisturbed
#      scripts/same-as-truth.sh --self-test FOLDER ...           shows that it fails when any of them is a little off
#      scripts/same-as-truth.sh --ledger ATTEMPTS                the outcomes in a file of attempts
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "FAILED: $*" >&2; exit 1; }

# The first final word on a number counts, and there is one for each.
ledger() {
  jq -r 'select(.outcome == "success" or .outcome == "no-record" or .outcome == "failed") | "\(.case_id) \(.outcome)"' "$1" | sort
}

# judge FOLDER RUN NUMBERS KILLS PAUSE
judge() {
  local folder=$1 run=$2 numbers=$3 most=$(($4 * 4 * 2)) pause=$5 own
  own=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$own'" EXIT
  jq -r --argjson n "$numbers" '(.exists[] | "IMM-\(.)-25 success"), ([range(1; $n + 1)] - .exists | .[] | "IMM-\(.)-25 no-record")' \
    "$folder/truth" | sort >"$own/want"
  ledger "$folder/output/attempts_$run.ndjson" >"$own/ledger"
  diff "$own/want" "$own/ledger" >"$own/diff" || { head "$own/diff"; fail 'the ledger is not what the court knows'; }
  diff "$folder/undisturbed" "$own/ledger" >"$own/diff" || { head "$own/diff"; fail 'the ledger is not that of an undisturbed run'; }
  grep ' success$' "$own/want" >"$own/records"
  find "$folder/output/cases/IMM/25" -name '*.json' | sed 's|.*/||; s|\.json$| success|' | sort |
    diff - "$own/records" || fail 'the records are not those of the court'
  seq "$numbers" | diff - "$folder/collected" || fail 'not every number is collected'
  jq -e --slurpfile truth "$folder/truth" --argjson n "$numbers" '.status == "completed" and .total == $n and .failed == 0 and
    .succeeded == ($truth[0].exists | length) and .no_record == $n - .succeeded' "$folder"/output/report-*.json >/dev/null ||
    fail "the report: $(jq -c '{status, reason, total, succeeded, no_record, failed}' "$folder"/output/report-*.json)"

  # A docket alone proves a record, a no-record takes two calls; a kill may cost what was under way, retried once. Gaps are those at the
  # senders: on a busy machine the court notices the first of two requests late.
  jq -r --slurpfile truth "$folder/truth" --slurpfile report <(cat "$folder"/output/report-*.json) --argjson n "$numbers" --argjson most "$most" --argjson pause "$pause" '
    (2 * $n - ($truth[0].exists | length)) as $least | (.requests - $least) as $more | $report[0].min_request_gap_seconds as $gap |
    "\(.requests) requests, \($more) of them again (at most \($most)), \(.max_in_flight) in flight at once; smallest gap between two starts \($gap) s, at the court \(.min_gap_seconds) s",
    (if $more < 0 or $more > $most then error("too many or too few requests") else empty end),
    (if .max_in_flight > 4 then error("too many at once") else empty end),
    (if $gap < $pause then error("two requests were closer to each other than \($pause) s") else empty end)' "$folder/stats" ||
    fail 'more was asked than was to be'
}

# spoil CHANGE changes one thing in a copy of what was found, in the folder it is called in.
spoil() {
  case $1 in
    'a record that the court does not know') edit truth '.exists |= .[1:]' ;;
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

# self_test FOLDER RUN NUMBERS KILLS PAUSE spoils one thing after the other, each of which must be noticed.
self_test() {
  local found=$1 copy changes=0 change
  shift
  copy=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$copy'" EXIT
  while read -r change; do
    rm -rf "$copy/found"
    cp -al "$found" "$copy/found" # links: whatever is changed is written anew
    (cd "$copy/found" && spoil "$change") || fail "could not spoil it: $change"
    if (judge "$copy/found" "$@") >/dev/null 2>&1; then fail "it was not noticed: $change"; fi
    changes=$((changes + 1))
  done < <(declare -f spoil | sed -n "s/^ *'\(.*\)')\$/\1/p")
  [ "$changes" = 12 ] || fail "$changes changes were tried"
  echo "$changes differences, one at a time, were each noticed"
}

case $1 in
  --ledger) ledger "$2" ;;
  --self-test) shift; self_test "$@" ;;
  *) judge "$@" ;;
esac
