#!/usr/bin/env bash
# Runs the installed version of Docker Compose on the files of this project.
# Use: scripts/compose.sh <compose command>; COMPOSE_FILE names the files, by default compose.yaml and compose.sim.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-fct-scraper}
export COMPOSE_FILE=${COMPOSE_FILE:-compose.yaml:compose.sim.yaml}
if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
exec docker-compose "$@"
