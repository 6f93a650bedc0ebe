#!/usr/bin/env bash
# Runs every fuzz target of the module for a few seconds.
# Use: scripts/fuzz.sh [seconds for each target, 5] [seconds for all together, no limit]
set -euo pipefail
cd "$(dirname "$0")/.."
each=${1:-5} all=${2:-0}

# go test -list prints the names of a package and then a line about the package.
targets=$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { while (n > 0) print $2, names[--n] }')
count=$(grep -c . <<<"$targets") || { echo 'no fuzz target found'; exit 1; }
if [ "$all" -gt 0 ] && [ $((each * count)) -gt "$all" ]; then each=$((all / count)); fi
if [ "$each" -lt 1 ]; then each=1; fi

echo "$count targets, $each s each"
while read -r package target; do
  go test -run '^$' -fuzz "^$target\$" -fuzztime "${each}s" "$package"
done <<<"$targets"
