#!/usr/bin/env bash
# Runs the container checks, with one NATS server and with a cluster of three, on images that are built once.
# Use: [KILLS=30] [SEED=n] scripts/check-containers.sh
set -euo pipefail
cd "$(dirname "$0")/.."
if ! docker version >/dev/null 2>&1; then
  echo '******** SKIPPED: no Docker engine answers, so no container was tested ********'
  exit 0
fi

export VERSION=check-$$
before=$(docker images -q nats)
trap 'docker rmi "fct-scraper:$VERSION" >/dev/null; for image in $(docker images -q nats); do [[ $before == *$image* ]] || docker rmi "$image" >/dev/null; done' EXIT
scripts/images.sh "$VERSION"
scripts/check-compose.sh
scripts/check-cluster.sh
