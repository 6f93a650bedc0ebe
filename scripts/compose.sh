#!/usr/bin/env bash
# Runs the installed version of Docker Compose on the files of this project.
# Use: scripts/compose.sh <compose command>; COMPOSE_FILE names the files, by default compose.yaml and compose.sim.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-fct-scraper}
export COMPOSE_FILE=${COMPOSE_FILE:-compose.yaml:compose.sim.yaml}
if [ -z "${FCT_HTTP_TOKEN:-}" ]; then # the services listen beyond loopback, in the containers' network
  token=${NATS_KEYS:-deploy/nats/keys}/http.token
  if [ ! -s "$token" ]; then (umask 077; mkdir -p "${token%/*}"; head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$token"); fi
  FCT_HTTP_TOKEN=$(cat "$token")
fi
export FCT_HTTP_TOKEN
if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
exec docker-compose "$@"
