package site

import (
	"fmt"
	"net/url"
	"strings"

	"fct-scraper/pkg/loopback"
)

// CheckOrigin says whether text may be the origin of a site: https, or http to this machine; a host and nothing behind it.
func CheckOrigin(text string) error {
	const allowed = "allowed is https://host[:port], or http:// to this machine alone"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error repeats the text, which may hold a password.
		return fmt.Errorf("origin: %s: not a URL", allowed)
	case u.User != nil:
		return fmt.Errorf("origin %q: %s, without credentials", u.Redacted(), allowed)
	case !bare(u) || u.Scheme != "https" && (u.Scheme != "http" || !loopback.Host(u.Hostname())):
		return fmt.Errorf("origin %.100q: %s", text, allowed)
	default:
		return nil
	}
}

// bare says whether a URL is scheme, host and port and nothing behind them.
func bare(u *url.URL) bool {
	return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":") && u.Opaque == "" && strings.TrimSuffix(u.Path, "/") == "" &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}
