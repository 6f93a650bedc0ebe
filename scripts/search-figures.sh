#!/usr/bin/env bash
# Makes the table of figures of the search for the highest number: families of years × so many seeds (400).
set -euo pipefail
cd "$(dirname "$0")/.."
go test ./services/prober/search -run '^TestFigures$' -count 1 -timeout 20m -v -figures -seeds "${1:-400}" | grep -v '^[=-]'
