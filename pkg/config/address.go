package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// isNATS says whether text is empty or the addresses of NATS servers.
func isNATS(text string) bool {
	if text == "" {
		return true
	}
	for part := range strings.SplitSeq(text, ",") {
		if !isServer(strings.TrimSpace(part)) {
			return false
		}
	}
	return true
}

func isServer(text string) bool {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	return err == nil && slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && isHost(u.Hostname()) &&
		(u.Port() == "" || isPort(u.Port())) && u.RawQuery == "" && u.Fragment == ""
}

// isListen says whether text is an address to listen on; without a host it is every address of this machine.
func isListen(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && isPort(port) && (host == "" || isHost(host))
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
