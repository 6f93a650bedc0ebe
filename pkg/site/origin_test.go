package site_test

import (
	"testing"

	"fct-scraper/pkg/site"
)

func TestNameOf(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]string{
		"https://www.fct-cf.ca":      "https://www.fct-cf.ca",
		"HTTPS://WWW.FCT-CF.CA:443/": "https://www.fct-cf.ca",
		"https://www.fct-cf.ca.":     "https://www.fct-cf.ca",
		"https://www.fct-cf.ca:8443": "https://www.fct-cf.ca:8443",
		"https://[2001:db8::1]:443":  "https://[2001:db8::1]",
		"http://127.0.0.1:8090":      site.Loopback,
		"http://127.8.9.1":           site.Loopback,
		"http://LocalHost:1/":        site.Loopback,
		"http://[::1]:8090":          site.Loopback,
		"https://localhost.test":     "https://localhost.test",
		"":                           "",
		"court":                      "court",
	} {
		if got := site.NameOf(origin); got != want {
			t.Errorf("%q: %q, want %q", origin, got, want)
		}
	}
}
