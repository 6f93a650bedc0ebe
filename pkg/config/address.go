package config

import (
	"iter"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/loopback"
)

// isNATS reports whether text is empty or a list of addresses of NATS servers.
func isNATS(text string) bool {
	for u, err := range parseServers(text) {
		if err != nil || !isServer(u) {
			return false
		}
	}
	return true
}

// parseServers iterates over a list of NATS servers, read as the NATS library does.
func parseServers(text string) iter.Seq2[*url.URL, error] {
	return func(yield func(*url.URL, error) bool) {
		if text == "" {
			return
		}
		for part := range strings.SplitSeq(text, ",") {
			part = strings.TrimSpace(part)
			if !strings.Contains(part, "://") {
				part = "nats://" + part
			}
			if !yield(url.Parse(part)) {
				return
			}
		}
	}
}

func isServer(u *url.URL) bool {
	return slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && isHost(u.Hostname()) &&
		(u.Port() == "" || isPort(u.Port())) && u.RawQuery == "" && u.Fragment == ""
}

func isEncrypted(u *url.URL) bool { return u.Scheme == "tls" || u.Scheme == "wss" }

// NATSTLS reports whether every connection to nats_url must use TLS: an address requires it, or a
// setting that only TLS uses is set.
func (c Config) NATSTLS() bool {
	for u, err := range parseServers(c.NATSURL) {
		if err == nil && isEncrypted(u) {
			return true
		}
	}
	return c.NATSCA != "" || c.NATSCert != ""
}

// unencryptedHosts returns the remote servers of nats_url that would be connected to without TLS,
// unless insecure allows that.
func (c Config) unencryptedHosts() (hosts []string) {
	if c.Insecure || c.NATSCA != "" || c.NATSCert != "" {
		return nil
	}
	for u, err := range parseServers(c.NATSURL) {
		if err == nil && !isEncrypted(u) && !loopback.IsHost(u.Hostname()) {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}

// isListen reports whether text is an address to listen on, with one port or a range; without a
// host it is every address of this machine.
func isListen(text string) bool {
	host, ports, err := net.SplitHostPort(text)
	if err != nil || host != "" && !isHost(host) {
		return false
	}
	first, last, isRange := strings.Cut(ports, "-")
	from, low := strconv.ParseUint(first, 10, 16)
	to, high := strconv.ParseUint(last, 10, 16)
	return low == nil && (!isRange || high == nil && 0 < from && from <= to)
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

func isHost(text string) bool {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}
	return net.ParseIP(text) != nil || text != "" && !strings.ContainsFunc(text, outside)
}
