// Package loopback tells addresses of this machine alone from those that others can reach.
package loopback

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// IsHost says whether a host is this machine by its very name: localhost, or an address such as 127.0.0.1 or ::1. Other names are
// not looked up, so whoever answers look-ups decides nothing.
func IsHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// IsListenAddr says whether an address to listen on, host:port, is reached from this machine alone. Without a host it is every address.
func IsListenAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsHost(host)
}

// DialControl is the Control of a net.Dialer that refuses every address but those of this machine, after all look-ups.
func DialControl(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("dialling %.60q: it is not an address of this machine", address)
	}
	return nil
}
