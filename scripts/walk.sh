#!/usr/bin/env bash
# Lists the files that a batch enters between batch.start and its report: those with a statement that
# runs more often with a batch than without one. The simulator, which is the site, is left out. A line
# has a folder and its files; the last line counts them.
set -euo pipefail
cd "$(dirname "$0")/.."
profiles=$(mktemp -d)
trap 'rm -rf "$profiles"' EXIT
for walk in idle batch; do
  go test -tags soak -count=1 -covermode=atomic -coverpkg=./services/...,./pkg/...,./streams \
    -coverprofile="$profiles/$walk" -run "^TestWalk_StartToReport\$/^$walk\$" ./services/fct-scraper/runtime >&2
done
awk -F'[: ]' 'NR == FNR { idle[$1 $2] = $NF; next } $NF > idle[$1 $2] { sub("fct-scraper/", "", $1); print $1 }' \
  "$profiles/idle" "$profiles/batch" | grep -v -e ^pkg/courtsim/ -e ^pkg/fcttest/ |
  sed -E 's,/([^/]*)$, \1,' | sort -u |
  awk '{ printf "%s %s", ($1 == folder ? "" : (NR > 1 ? "\n" : "") $1 ":"), $2; folder = $1 }
    END { printf "\n%d files\n", NR }'
