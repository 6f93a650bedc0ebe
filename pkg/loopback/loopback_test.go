package loopback_test

import (
	"testing"

	"fct-scraper/pkg/loopback"
)

func TestIsHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.9.8.7": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "127.1": false, "0x7f.0.0.1": false, "2130706433": false, "localhost.": false,
		"localhost.example.org": false, "127.0.0.1.example.org": false, "ip6-localhost": false, "::ffff:10.0.0.1": false, "fe80::1": false,
	} {
		if got := loopback.IsHost(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}

func TestIsListenAddr(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:4222": true, "localhost:0": true, "[::1]:4222": true,
		":4222": false, "0.0.0.0:4222": false, "[::]:4222": false, "10.0.0.1:4222": false, "127.0.0.1": false,
	} {
		if got := loopback.IsListenAddr(addr); got != want {
			t.Errorf("%q: %v, want %v", addr, got, want)
		}
	}
}

func TestDialControl(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "[::ffff:127.0.0.1]:1": true,
		"10.0.0.1:1": false, "0.0.0.0:1": false, "[::]:1": false, "[fe80::1%eth0]:1": false, "host:1": false, "": false,
	} {
		if err := loopback.DialControl("tcp", address, nil); (err == nil) != want {
			t.Errorf("%q: %v, want good %v", address, err, want)
		}
	}
}
