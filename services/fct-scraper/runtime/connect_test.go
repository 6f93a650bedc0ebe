package runtime

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go"
)

func TestRights_ServiceAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		services    []string
		name, inbox string
		makes       bool
	}{
		{nil, "fct-scraper", "", true},
		{Services(), "fct-scraper", "", true},
		{[]string{"generator"}, "fct-generator", "_INBOX_generator", true},
		{[]string{"fetcher"}, "fct-fetcher", "_INBOX_fetcher", false},
		{[]string{"classifier", "fetcher"}, "fct-scraper", "", false},
	} {
		a := connectOptions{services: test.services}
		if a.clientName() != test.name || a.inboxPrefix() != test.inbox || a.createsStreams() != test.makes {
			t.Errorf("%v: name %q, inbox %q, makes %v; want %q, %q, %v", test.services, a.clientName(),
				a.inboxPrefix(), a.createsStreams(), test.name, test.inbox, test.makes)
		}
	}
}

// TestConnect_ServerWithoutTLS: a server that offers no TLS is left, although it stands at the address of one that has it.
func TestConnect_ServerWithoutTLS(t *testing.T) {
	t.Parallel()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, authority(t), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := natsd.StartOn(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	plain := strings.TrimPrefix(server.URL(), "nats://")
	for name, c := range map[string]config.Config{
		"nats_ca":     {NATSURL: "nats://" + plain, NATSCA: ca},
		"tls":         {NATSURL: "tls://" + plain},
		"insecure is": {NATSURL: "nats://" + plain, NATSCA: ca, Insecure: true},
	} {
		nc, err := dial(c, connectOptions{})
		if !errors.Is(err, nats.ErrSecureConnWanted) {
			t.Errorf("%s: %v, want %v", name, err, nats.ErrSecureConnWanted)
		}
		if err == nil {
			nc.Close()
		}
	}
	nc, err := dial(config.Config{NATSURL: "nats://" + plain}, connectOptions{})
	if err != nil {
		t.Fatal("without TLS on this machine:", err)
	}
	nc.Close()
}

// TestNATSURL_NamedServers: a cluster names its other servers, and clients go to them when theirs is away.
func TestNATSURL_NamedServers(t *testing.T) {
	t.Parallel()
	server, err := natsd.StartOn(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trouble := make(chan error, 100)
	nc, err := dial(config.Config{NATSURL: server.URL()}, connectOptions{}, nats.ReconnectWait(time.Millisecond),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			select {
			case trouble <- err:
			default:
			}
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := errors.Join(nc.SetServerPool([]string{"nats://192.0.2.1:4222"}), server.Close()); err != nil {
		t.Fatal(err)
	}
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	for err := range trouble {
		if strings.Contains(err.Error(), "not an address of this machine") {
			return
		}
		t.Log(err)
	}
}

// authority is the certificate of an authority, in PEM.
func authority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
