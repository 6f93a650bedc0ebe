#!/usr/bin/env bash
# Builds the image fct-scraper:<version> and, if nats:<version>-alpine cannot be pulled, a replacement of the same name.
# Use: scripts/images.sh [version]; without one, the version of git, tagged latest too
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
stamp=$(git describe --tags --always --dirty 2>/dev/null || echo devel)
version=${1:-$stamp}
# The same version as the embedded server, so that both behave alike.
server=$(go list -m -f '{{.Version}}' github.com/nats-io/nats-server/v2)
nats=nats:${server#v}-alpine

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

mkdir -p "$scratch/program/empty" "$scratch/nats"
go build -trimpath -ldflags "-s -w -X main.stamped=$stamp" -o "$scratch/program/fct-scraper" ./services/fct-scraper
roots=/etc/ssl/certs/ca-certificates.crt
if [ -r "$roots" ]; then
  cp -L "$roots" "$scratch/program/ca-certificates.crt"
else
  echo "$roots does not exist: this image cannot verify the certificate of any site" >&2
  : >"$scratch/program/ca-certificates.crt"
fi
tags=(-t "fct-scraper:$version")
if [ $# -eq 0 ]; then tags+=(-t fct-scraper:latest); fi
docker build -q "${tags[@]}" -f Dockerfile "$scratch/program" >/dev/null
echo "built fct-scraper:$version"

if docker image inspect "$nats" >/dev/null 2>&1; then
  echo "$nats exists"
  exit
fi
# An image that was pulled once is pulled by its digest from then on, even if the registry moves the tag.
pins=deploy/nats/images.txt
digest=$(awk -v image="$nats" '$1 == image { print $2 }' "$pins")
name=$nats
if [ -n "$digest" ]; then name=nats@$digest; fi
if timeout 60 docker pull -q "$name" >/dev/null 2>&1; then
  if [ -n "$digest" ]; then
    docker tag "nats@$digest" "$nats"
    echo "pulled $nats by its digest $digest"
  else
    digest=$(docker image inspect -f '{{index .RepoDigests 0}}' "$nats")
    echo "$nats ${digest#*@}" >>"$pins"
    echo "pulled $nats; its digest, ${digest#*@}, was added to $pins: check it and commit it"
  fi
  exit
fi
go build -trimpath -ldflags '-s -w' -o "$scratch/nats/nats-server" github.com/nats-io/nats-server/v2
# The alpine image contains wget, which health checks use; this program does what they need.
cat >"$scratch/wget.go" <<'GO'
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(os.Args[len(os.Args)-1])
	if err != nil || response.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, "wget:", err, response)
		os.Exit(1)
	}
	for _, arg := range os.Args {
		if arg == "--spider" {
			return
		}
	}
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		os.Exit(1)
	}
}
GO
go build -trimpath -ldflags '-s -w' -o "$scratch/nats/wget" "$scratch/wget.go"
cat >"$scratch/nats/Dockerfile" <<'DOCKER'
FROM scratch
LABEL fct-scraper.stand-in="no registry was reachable: nats-server of go.mod on an empty image"
COPY nats-server wget /usr/local/bin/
ENV PATH=/usr/local/bin
EXPOSE 4222 6222 8222
ENTRYPOINT ["nats-server"]
CMD ["--config", "/etc/nats/nats-server.conf"]
DOCKER
docker build -q -t "$nats" "$scratch/nats" >/dev/null
echo "built a replacement for $nats, which could not be pulled"
