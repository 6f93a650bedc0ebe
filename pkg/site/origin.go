package site

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"fct-scraper/pkg/loopback"
)

// CheckOrigin reports whether text is a valid origin of a site: https, or http for a loopback host,
// with nothing after host and port.
func CheckOrigin(text string) error {
	const allowed = "allowed is https://host[:port], or http:// to this machine alone, " +
		"without path, query or fragment, the port from 1 to 65535"
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error repeats the text, which may hold a password.
		return fmt.Errorf("origin: %s: not a URL", allowed)
	case u.User != nil:
		return fmt.Errorf("origin %q: %s, without credentials", u.Redacted(), allowed)
	case !isOrigin(u) || u.Scheme != "https" && (u.Scheme != "http" || !loopback.IsHost(u.Hostname())):
		return fmt.Errorf("origin %.100q: %s", text, allowed)
	default:
		return nil
	}
}

// isOrigin reports whether a URL consists of scheme, valid host and optional port only.
func isOrigin(u *url.URL) bool {
	return isHost(u.Hostname()) && (u.Port() == "" || isPort(u.Port())) && !strings.HasSuffix(u.Host, ":") && u.Opaque == "" && strings.TrimSuffix(u.Path, "/") == "" &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// isHost reports whether text is an IP address or can be a host name.
func isHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	outside := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_", r)
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	return text != "" && len(text) <= 253 && !strings.ContainsFunc(text, outside) && !slices.Contains(labels, "")
}

// isPort reports whether text is a valid TCP port.
func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// Loopback is the name that NameOf returns for every loopback origin.
const Loopback = "loopback"

// NameOf returns the name of the site behind an origin: scheme, host and port in lower case,
// without the scheme's default port. All loopback origins are one site, Loopback, because a
// simulator gets a new port with each start. A text that is not an origin is returned unchanged.
func NameOf(origin string) string {
	u, err := url.Parse(strings.ToLower(strings.TrimSuffix(origin, "/")))
	if err != nil || u.Host == "" {
		return origin
	}
	host, port := strings.TrimSuffix(u.Hostname(), "."), u.Port()
	if loopback.IsHost(host) {
		return Loopback
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}
