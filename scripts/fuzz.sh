#!/usr/bin/env bash
# Runs every fuzz target of the module for a number of inputs or for a time.
# Use: scripts/fuzz.sh [inputs per target, by default 4000x; or a time such as 60s]
set -euo pipefail
cd "$(dirname "$0")/.."
# The default is a number of inputs, because a failure must mean a fault: when a time ends, go test sometimes fails with
# "context deadline exceeded" although nothing was found.
each=${1:-4000x}
# Fewer than a thousand inputs find nothing more with the coverage of the code, for which all dependencies would be compiled
# again: they are mutations of the seeds.
guide=(-fuzz .)
if [[ $each =~ ^[0-9]{1,3}x$ ]]; then guide=(); fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cache=$(go env GOCACHE)/fuzz
count=0
while read -r package folder; do
  go test -c "${guide[@]}" -o "$scratch/fuzz.test" "$package"
  for target in $(cd "$folder" && "$scratch/fuzz.test" -test.list '^Fuzz'); do
    echo "$package $target"
    (cd "$folder" && "$scratch/fuzz.test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$each" \
      -test.fuzzminimizetime 20x -test.fuzzcachedir "$cache/$package")
    count=$((count + 1))
  done
done < <(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|' | xargs go list -f '{{.ImportPath}} {{.Dir}}')
[ "$count" -gt 0 ] || { echo 'no fuzz target found'; exit 1; }
echo "$count targets, $each each"
