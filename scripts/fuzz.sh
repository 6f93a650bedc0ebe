#!/usr/bin/env bash
# Runs every fuzz target of the module for a number of inputs or for a time.
# Use: scripts/fuzz.sh [inputs per target, by default 4000x; or a time such as 60s]
set -euo pipefail
cd "$(dirname "$0")/.."
# The default is a number of inputs, because a failure must mean a fault: when a time ends, go test sometimes fails with
# "context deadline exceeded" although nothing was found.
each=${1:-4000x}

# go test -list prints the names of a package and then a line about the package.
targets=$(go test -list '^Fuzz' ./... | awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { while (n > 0) print $2, names[--n] }')
count=$(grep -c . <<<"$targets") || { echo 'no fuzz target found'; exit 1; }

echo "$count targets, $each each"
while read -r package target; do
  go test -run '^$' -fuzz "^$target\$" -fuzztime "$each" -fuzzminimizetime 20x "$package"
done <<<"$targets"
