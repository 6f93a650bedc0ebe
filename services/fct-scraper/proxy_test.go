package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestProxy_Invalid: before anything is asked or written, by the name of its source.
func TestProxy_Invalid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{
		"batch", "--base-url", "https://court.invalid", "--contact", "me@court.invalid",
		"--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"),
	}
	for environ, want := range map[string]string{
		"HTTPS_PROXY=http://user:geheim@p.invalid:99999": "$HTTPS_PROXY: proxy http://p.invalid:99999: allowed is",
		"https_proxy=ftp://p.invalid":                    "$https_proxy: proxy ftp://p.invalid: allowed is",
		"FCT_PROXY=http://user:geheim@p.invalid:0":       `$FCT_PROXY: proxy = "http://***@p.invalid:0": want`,
	} {
		ran := didIn(t, []string{environ}, codeUsage, args...)
		if !strings.Contains(ran.stderr, want) || strings.Contains(ran.stderr, "geheim") {
			t.Errorf("%s: %s", environ, ran.stderr)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("%q were made, %v", left, err)
	}
}

func TestProxy_PasswordMasked(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"config", "show"}, {"config", "show", "--json"}} {
		for _, proxy := range []string{"http://user:geheim@p.invalid:3128", "user:geheim,x@p.invalid:3128", "socks5://user:geheim@p.invalid:3128"} {
			ran := did(t, codeCompleted, append(args, "--proxy", proxy)...)
			if !strings.Contains(ran.stdout, "***@p.invalid:3128") || strings.Contains(ran.stdout, "geheim") {
				t.Errorf("%q %s: %s", args, proxy, ran.stdout)
			}
		}
	}
}

// TestProxy_UnusedForSimulator: it is not used, which is said unless nobody asked for one.
func TestProxy_UnusedForSimulator(t *testing.T) {
	t.Parallel()
	for proxy, said := range map[string]bool{"http://user:geheim@127.0.0.1:1": true, "none": false, "": false} {
		dir := t.TempDir()
		ran := did(t, codeCompleted, "batch", "2025", "--site", "sim", "--end", "2", "--probe=false", "--delay-min", "0", "--delay-max", "0",
			"--proxy", proxy, "--log-level", "warn", "--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
		if strings.Contains(ran.stderr, "site.proxy.unused") != said || strings.Contains(ran.stderr, "geheim") {
			t.Errorf("%q: %s", proxy, ran.stderr)
		}
	}
}
