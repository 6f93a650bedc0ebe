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

// CheckOrigin says whether text may be the origin of a site: https, or http to this machine; a host and nothing behind it.
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

// isOrigin says whether a URL is scheme, host and port, which is possible when it is there, and nothing behind them.
func isOrigin(u *url.URL) bool {
	return isHost(u.Hostname()) && (u.Port() == "" || isPort(u.Port())) && !strings.HasSuffix(u.Host, ":") && u.Opaque == "" && strings.TrimSuffix(u.Path, "/") == "" &&
		u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// isHost says whether text is an IP address or may be a name.
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

// isPort says whether text is a port to which one can connect.
func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// Loopback is what NameOf returns for every origin of this machine.
const Loopback = "loopback"

// NameOf names the court behind an origin: scheme, host and port in lower case, the port only where it is not the scheme's own.
// All origins of this machine are one court, Loopback: a simulator gets another port with each start. Text that is no origin is
// returned as it is.
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
