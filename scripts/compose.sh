#!/usr/bin/env bash
# Runs Docker Compose, of whichever version is there, over the files of this project.
# Use: scripts/compose.sh <command of compose>; COMPOSE_FILE names the files, compose.yaml and compose.sim.yaml if not set
set -euo pipefail
cd "$(dirname "$0")/.."
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-fct-scraper}
export COMPOSE_FILE=${COMPOSE_FILE:-compose.yaml:compose.sim.yaml}
if docker compose version >/dev/null 2>&1; then exec docker compose "$@"; fi
exec docker-compose "$@"
