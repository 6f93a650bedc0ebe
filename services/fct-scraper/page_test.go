package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestBatch_OpenPrintsAddress: without a terminal --open prints where the page is, and opens nothing.
func TestBatch_OpenPrintsAddress(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ran := didIn(t, nil, codeCompleted, "batch", "--open", "--site", "sim", "--year", "25", "--end", "3", "--probe=false", "--delay-min", "0", "--delay-max", "0",
		"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
	if !regexp.MustCompile(`(?m)^page: http://127\.0\.0\.1:[1-9][0-9]*/$`).MatchString(ran.stderr) {
		t.Errorf("%s", ran.stderr)
	}
}

func TestPageURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080/", "[::]:80": "http://127.0.0.1:80/", "0.0.0.0:80": "http://127.0.0.1:80/",
		"[::1]:8080": "http://[::1]:8080/", "10.0.0.1:9": "http://10.0.0.1:9/",
	} {
		if got := pageURL(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestBrowserCommand(t *testing.T) {
	t.Parallel()
	for system, first := range map[string]string{"linux": "xdg-open", "freebsd": "xdg-open", "darwin": "open", "windows": "rundll32"} {
		words := browserCommand(system, "http://127.0.0.1:1/")
		if words[0] != first || !slices.Contains(words, "http://127.0.0.1:1/") {
			t.Errorf("%s: %q", system, words)
		}
	}
}

// TestPage_RemoteAddrNeedsToken: nothing starts at an address that others can reach without http_token.
func TestPage_RemoteAddrNeedsToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, command := range []string{"serve --embedded --embedded-addr 127.0.0.1:0", "batch --year 25 --end 3"} {
		words := append(strings.Fields(command), "--site", "sim", "--http-addr", "0.0.0.0:0", "--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
		if refused := didIn(t, nil, codeUsage, words...); !strings.Contains(refused.stderr, "want http_token too") {
			t.Errorf("%s: %s", command, refused.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		t.Error("a store was created")
	}
}
