#!/usr/bin/env bash
# Creates a CA and the certificate of the NATS servers of compose.yaml, unless they exist. They are valid for five years. To
# replace them, remove the folder, run this again, and restart servers and services.
# Use: scripts/tls.sh [folder, by default deploy/nats/keys/tls]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-deploy/nats/keys/tls}
if [ -s "$folder/ca.pem" ]; then exit; fi

mkdir -p "$(dirname "$folder")" "$folder"
chmod 700 "$(dirname "$folder")"
go run tools/certs/main.go "$folder"
# The server in the container runs as a user that this machine does not have. It becomes the owner of the key where that is
# permitted; otherwise only the folder is closed to other users.
chown 65532:65532 "$folder/server.key" 2>/dev/null || chmod 644 "$folder/server.key"
echo "created a CA and the certificate of the NATS servers in $folder"
