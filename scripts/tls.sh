#!/usr/bin/env bash
# Makes the CA and the certificate by which the NATS servers of compose.yaml prove who they are, once; remove the folder to have them
# made anew (they are good for five years), then restart servers and services.
# Use: scripts/tls.sh [folder, else deploy/nats/keys/tls]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-deploy/nats/keys/tls}
if [ -s "$folder/ca.pem" ]; then exit; fi

mkdir -p "$(dirname "$folder")" "$folder"
chmod 700 "$(dirname "$folder")"
go run tools/certs/main.go "$folder"
# The server in the container runs as a user that this machine has not: it is given the key where we may, else the folder alone is
# closed to others.
chown 65532:65532 "$folder/server.key" 2>/dev/null || chmod 644 "$folder/server.key"
echo "made a CA and the certificate of the NATS servers in $folder"
