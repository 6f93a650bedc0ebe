#!/usr/bin/env bash
# Prints the table of the search for the highest number in docs/figures.md.
# Use: scripts/search-figures.sh [years per family, by default 400]
set -euo pipefail
cd "$(dirname "$0")/.."
go test ./services/prober/search -run '^TestFigures$' -count 1 -timeout 20m -v -figures -seeds "${1:-400}" | grep -v '^[=-]'
