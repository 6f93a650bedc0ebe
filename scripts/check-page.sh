#!/usr/bin/env bash
# Checks the page of analyze, the page of a process and the page of a report in a real browser. It needs chromium and pdftotext, and installs Debian's where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null || ! command -v pdftotext >/dev/null; then
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo 'NOT CHECKED: the page in a browser: chromium and pdftotext are missing, and only root can install them'
    exit 0
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium poppler-utils fonts-dejavu-core >/dev/null
fi
go vet -tags browser ./pkg/analysis ./pkg/fcttest ./services/fct-scraper/dashboard ./services/reporter/files
go test -tags browser -run TestBrowser_ -timeout 20m ./pkg/analysis ./services/fct-scraper/dashboard ./services/reporter/files
