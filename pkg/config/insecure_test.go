package config_test

import (
	"strings"
	"testing"
)

// TestLoad_RemoteNATSWithoutTLS tries every way of writing a server that would be connected to
// without TLS.
func TestLoad_RemoteNATSWithoutTLS(t *testing.T) {
	for _, url := range []string{
		"nats://10.0.0.1:4222", "10.0.0.1:4222", "broker", "NATS://broker", "ws://broker", "Ws://broker:80", "nats://[fe80::1]:4222", "nats://0.0.0.0", "nats://[::]:4222",
		"nats://127.0.0.1:4222,nats://10.0.0.1:4222", "tls://a:4222, nats://b:4222", "nats://127.0.0.1@broker:4222", "nats://localhost:x@broker",
		"nats://127.1:4222", "nats://localhost.example.org", "nats://2130706433", "nats://[::ffff:10.0.0.1]",
	} {
		for name, environ := range map[string][]string{"flag": nil, "$FCT_NATS_URL": {"FCT_NATS_URL=" + url}, "$NATS_URL": {"NATS_URL=" + url}} {
			flags := map[string]string{}
			if environ == nil {
				flags["nats_url"] = url
			}
			_, err := load(t, "", environ, flags)
			got := problems(t, err)
			if len(got) != 1 || !strings.Contains(got[0], "nats_url = ") || !strings.Contains(got[0], "want tls://, or nats_ca, or insecure = true") {
				t.Errorf("%s %s: %q; want one problem that says what is allowed", name, url, got)
			}
		}
		for _, allowed := range []map[string]string{{"insecure": "true"}, {"nats_ca": "ca.pem"}, {"nats_cert": "c.pem", "nats_key": "k.pem"}} {
			allowed["nats_url"] = url
			s, err := load(t, "", nil, allowed)
			if err != nil {
				t.Errorf("%v: %v", allowed, err)
			} else if want := allowed["insecure"] == "" || strings.Contains(url, "tls"); s.NATSTLS() != want {
				t.Errorf("%v: TLS %v, want %v", allowed, !want, want)
			}
		}
	}
}

func TestLoad_LocalNATSOrTLS(t *testing.T) {
	for url, tls := range map[string]bool{
		"": false, "nats://127.0.0.1:4222": false, "localhost:4222": false, "nats://LOCALHOST": false, "ws://[::1]:80": false, "nats://u:p@127.9.9.9": false,
		"tls://broker:4222": true, "TLS://broker": true, "wss://broker": true, "nats://127.0.0.1,tls://broker": true,
	} {
		s, err := load(t, "", nil, map[string]string{"nats_url": url})
		if err != nil {
			t.Errorf("%q: %v", url, err)
		} else if s.NATSTLS() != tls {
			t.Errorf("%q: TLS %v, want %v", url, s.NATSTLS(), tls)
		}
	}
}
