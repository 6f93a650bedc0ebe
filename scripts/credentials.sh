#!/usr/bin/env bash
# Creates the keys of services, operators and the admin for the NATS server of deploy/nats/nats.conf, unless they exist.
# Use: scripts/credentials.sh [folder, by default deploy/nats/keys]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-deploy/nats/keys}
if [ -s "$folder/public.conf" ]; then exit; fi

umask 077
mkdir -p "$folder"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -o "$scratch/nk" github.com/nats-io/nkeys/nk

# The folder is closed to other users. The files are not: a container reads its file as a user that this machine does not have.
for name in generator prober fetcher classifier reporter operator admin; do
  "$scratch/nk" -gen user >"$folder/$name.nk"
  chmod 644 "$folder/$name.nk"
  printf 'KEY_%s: %s\n' "${name^^}" "$("$scratch/nk" -inkey "$folder/$name.nk" -pubout)"
done >"$scratch/public.conf"
# The servers of a cluster authenticate to each other with a password.
password=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
{
  printf 'ROUTE_PASSWORD: "%s"\n' "$password"
  for n in 1 2 3; do printf 'ROUTE_%s: "nats://route:%s@nats-%s:6222"\n' "$n" "$password" "$n"; done
} >"$folder/route.conf"
chmod 644 "$folder/route.conf" "$scratch/public.conf"
mv "$scratch/public.conf" "$folder/public.conf"
echo "created the keys in $folder"
