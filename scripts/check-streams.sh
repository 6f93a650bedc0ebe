#!/usr/bin/env bash
# Checks that the nats command accepts every definition in streams/ unchanged, and finds no drift in what it created from it.
# Use: scripts/check-streams.sh [folder]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-streams}

scratch=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null && wait "$server" || true; rm -rf "$scratch"' EXIT

# The caller's own contexts and credentials must not connect the command to another server.
unset "${!NATS_@}"
export XDG_CONFIG_HOME=$scratch/config

# The server version and limits are those of the embedded server, but it listens on a loopback port.
go build -o "$scratch/nats-server" github.com/nats-io/nats-server/v2
cat >"$scratch/server.conf" <<CONF
listen: "127.0.0.1:-1"
ports_file_dir: "$scratch"
max_payload: 64MB
max_pending: 256MB
jetstream { store_dir: "$scratch/store", sync_interval: always }
CONF
"$scratch/nats-server" -c "$scratch/server.conf" >"$scratch/log" 2>&1 &
server=$!
ports=$scratch/nats-server_$server.ports
until [ -s "$ports" ]; do
  kill -0 "$server" 2>/dev/null || { cat "$scratch/log"; exit 1; }
  sleep 0.05
done
url=$(grep -o 'nats://[^"]*' "$ports")
client=$(go tool -modfile=tools/go.mod -n nats)

# run_client runs the nats command and prints its output only if it failed.
run_client() { "$client" --server "$url" "$@" </dev/null >"$scratch/printed" 2>&1 || { cat "$scratch/printed"; return 1; }; }

# try FILE WHAT [STREAM] creates a stream or a consumer from the file, then checks what an edit with the same file would change.
try() {
  local name
  name=$(grep -o '"name": *"[^"]*"' "$1" | head -1 | cut -d'"' -f4)
  run_client "$2" add "${@:3}" --config "$1" || { echo "$1: not accepted"; return 1; }
  run_client "$2" edit "${@:3}" "$name" --config "$1" --dry-run || { echo "$1: not comparable"; return 1; }
  if [ -s "$scratch/printed" ]; then cat "$scratch/printed"; echo "$1: drifts"; return 1; fi
}

streams=0 consumers=0 failed=0
for file in "$folder"/*.stream.json; do
  try "$file" stream || failed=1
  streams=$((streams + 1))
done
for file in "$folder"/*.consumer.json; do
  name=$(basename "$file")
  try "$file" consumer "${name%%.*}" || failed=1
  consumers=$((consumers + 1))
done
files=$(find "$folder" -maxdepth 1 -name '*.json' | wc -l)
if [ "$files" -ne $((streams + consumers)) ]; then echo "$folder holds $files definitions"; failed=1; fi
echo "$streams streams and $consumers consumers tried with nats $("$client" --version)"
exit "$failed"
