// Package loopback distinguishes addresses of this machine from those that others can reach.
package loopback

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// IsHost reports whether a host is this machine by its name alone: localhost, or an address such as
// 127.0.0.1 or ::1. Other names are not resolved, so a DNS server decides nothing.
func IsHost(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// IsListenAddr reports whether a listen address, host:port, can be reached only from this machine.
// An address without a host can be reached from others.
func IsListenAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && IsHost(host)
}

// DialControl is the Control of a net.Dialer that refuses every address that is not loopback, after
// name resolution.
func DialControl(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("dialling %.60q: it is not an address of this machine", address)
	}
	return nil
}
