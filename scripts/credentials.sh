#!/usr/bin/env bash
# Makes the keys by which services and operators are known to the NATS server of deploy/nats/nats.conf, once.
# Use: scripts/credentials.sh [folder, else deploy/nats/keys]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-deploy/nats/keys}
if [ -s "$folder/public.conf" ]; then exit; fi

umask 077
mkdir -p "$folder"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
go build -o "$scratch/nk" github.com/nats-io/nkeys/nk

# The folder is closed to others. The files are not, because a container reads its own as a user that this machine has not.
for name in generator prober fetcher classifier reporter operator admin; do
  "$scratch/nk" -gen user >"$folder/$name.nk"
  chmod 644 "$folder/$name.nk"
  printf 'KEY_%s: %s\n' "${name^^}" "$("$scratch/nk" -inkey "$folder/$name.nk" -pubout)"
done >"$scratch/public.conf"
# The servers of a cluster know each other by a password.
password=$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')
{
  printf 'ROUTE_PASSWORD: "%s"\n' "$password"
  for n in 1 2 3; do printf 'ROUTE_%s: "nats://route:%s@nats-%s:6222"\n' "$n" "$password" "$n"; done
} >"$folder/route.conf"
chmod 644 "$folder/route.conf" "$scratch/public.conf"
mv "$scratch/public.conf" "$folder/public.conf"
echo "made the keys in $folder"
