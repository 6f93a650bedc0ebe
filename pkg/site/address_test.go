package site_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"golang.org/x/net/dns/dnsmessage"
)

// TestGuard: public addresses may be dialled, and of the others the one that the origin names.
func TestGuard(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		origin, address string
		allowed         bool
	}{
		{"https://court.invalid", "142.250.1.1:443", true}, {"https://court.invalid", "[2607:f8b0::1]:443", true}, {"https://court.invalid", "[2002:8efa:101::]:443", true},
		{"https://court.invalid", "[64:ff9b::8efa:101]:443", true},
		{"https://court.invalid", "127.0.0.1:443", false}, {"https://court.invalid", "127.9.9.9:443", false}, {"https://court.invalid", "0.0.0.0:443", false},
		{"https://court.invalid", "10.1.2.3:443", false}, {"https://court.invalid", "172.16.0.1:443", false}, {"https://court.invalid", "172.31.255.255:443", false},
		{"https://court.invalid", "192.168.1.1:443", false}, {"https://court.invalid", "169.254.169.254:443", false}, {"https://court.invalid", "100.64.0.1:443", false},
		{"https://court.invalid", "100.100.100.200:443", false}, {"https://court.invalid", "192.0.0.192:443", false}, {"https://court.invalid", "168.63.129.16:443", false},
		{"https://court.invalid", "198.18.0.1:443", false}, {"https://court.invalid", "224.0.0.1:443", false}, {"https://court.invalid", "255.255.255.255:443", false},
		{"https://court.invalid", "[::1]:443", false}, {"https://court.invalid", "[::]:443", false}, {"https://court.invalid", "[::ffff:127.0.0.1]:443", false},
		{"https://court.invalid", "[fe80::1%1]:443", false}, {"https://court.invalid", "[fd00:ec2::254]:443", false}, {"https://court.invalid", "[fec0::1]:443", false},
		{"https://court.invalid", "[64:ff9b::7f00:1]:443", false}, {"https://court.invalid", "[64:ff9b:1::1]:443", false}, {"https://court.invalid", "[2002:a01:203::1]:443", false},
		{"https://court.invalid", "[2001::1]:443", false}, {"https://court.invalid", "[ff02::1]:443", false}, {"https://court.invalid", "[::127.0.0.1]:443", false},
		{"https://court.invalid", "/var/run/docker.sock", false}, {"https://court.invalid", "", false},
		{"http://localhost:8080", "127.0.0.1:8080", true}, {"http://localhost:8080", "[::1]:8080", true}, {"http://localhost:8080", "10.0.0.1:8080", false},
		{"https://10.1.2.3", "10.1.2.3:443", true}, {"https://10.1.2.3", "10.1.2.4:443", false}, {"https://10.1.2.3", "127.0.0.1:443", false},
		{"https://[::1]:8443", "[::1]:8443", true}, {"https://[::ffff:10.1.2.3]", "10.1.2.3:443", true}, {"https://169.254.169.254", "169.254.169.254:443", true},
		{"https://127.1", "127.0.0.1:443", false}, {"https://2130706433", "127.0.0.1:443", false}, {"https://0x7f000001", "127.0.0.1:443", false},
		{"https://localhost.court.invalid", "127.0.0.1:443", false},
	} {
		err := site.DialControl(test.origin)("tcp", test.address, nil)
		if (err == nil) != test.allowed {
			t.Errorf("%s to %s: error %v, want none: %t", test.origin, test.address, err, test.allowed)
		}
	}
}

// TestRebinding: a name that is looked up to be inside this machine's network gets no request, whatever it was before.
func TestRebinding(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]string{
		"this machine": {"127.0.0.1"}, "metadata": {"169.254.169.254"}, "several": {"10.0.0.1", "192.168.0.1", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			victim := startSite(t, nil)
			_, port, err := net.SplitHostPort(victim.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			resolver := newResolver(t, answers)
			opts := site.Options{Profile: load(t, "fct-cf"), Origin: "https://court.test:" + port}
			transport := site.NewTransportWithResolver(opts, resolver)
			t.Cleanup(transport.CloseIdleConnections)
			c := newClient(t, opts.Origin, func(o *site.Options) { o.Transport = transport })
			exchanges := fetchCase(t, c)
			wantReading(t, c, exchanges, contract.VerdictTransient, "no public address, and the base URL does not name it")
			if n := len(victim.madeCalls()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// newResolver looks every name up to be at those addresses.
func newResolver(t *testing.T, addresses []string) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	go func() {
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(query)
			if err != nil {
				return
			}
			if answer, err := dnsAnswer(query[:n], addresses); err == nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// dnsAnswer is the answer to a DNS query for IPv4 addresses; to other queries it is empty.
func dnsAnswer(query []byte, addresses []string) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, err
	}
	message.Response, message.Additionals = true, nil
	for _, address := range addresses {
		if message.Questions[0].Type != dnsmessage.TypeA {
			break
		}
		message.Answers = append(message.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: message.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
		})
	}
	return message.Pack()
}

// TestProxy: by a proxy, the proxy is what is dialled, and it may be anywhere.
func TestProxy(t *testing.T) {
	t.Parallel()
	proxy := startSite(t, nil)
	c := newClient(t, "https://court.invalid", func(o *site.Options) { o.Proxy = proxyAt(t, proxy.URL) })
	if exchanges := fetchCase(t, c); strings.Contains(exchanges[0].Error, "no public address") {
		t.Errorf("error %q", exchanges[0].Error)
	}
	if made := proxy.madeCalls(); len(made) != 1 {
		t.Errorf("the proxy was asked %q, want one request to connect", made)
	}
}
