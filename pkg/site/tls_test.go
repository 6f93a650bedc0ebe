package site_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

func proxyAt(t *testing.T, address string) func(*http.Request) (*url.URL, error) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return http.ProxyURL(u)
}

// newCertificate returns a self-signed certificate for 127.0.0.1, valid from an hour ago until the
// given time.
func newCertificate(t *testing.T, until time.Time) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "court"}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// profileWithAuthority returns a profile that trusts an additional authority.
func profileWithAuthority(t *testing.T, authority []byte) *site.Profile {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"court.pem": authority, "mine.toml": []byte("name = \"mine\"\nlike = \"fct-cf\"\nca_file = \"court.pem\"\norigin = \"https://court.invalid\"")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := site.LoadFile(filepath.Join(dir, "mine.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTLS: a server without a valid certificate gets no request, and the error tells why.
func TestTLS(t *testing.T) {
	t.Parallel()
	good, authority := newCertificate(t, time.Now().Add(24*time.Hour))
	expired, old := newCertificate(t, time.Now().Add(-24*time.Hour))
	for name, test := range map[string]struct {
		certificate tls.Certificate
		authority   []byte
		newest      uint16
		host        string
		verdict     contract.Verdict
		say         string
	}{
		"by ca_file":         {good, authority, 0, "127.0.0.1", contract.VerdictSuccess, ""},
		"vouches for itself": {good, nil, 0, "127.0.0.1", contract.VerdictTransient, "unknown authority"},
		"another authority":  {good, old, 0, "127.0.0.1", contract.VerdictTransient, "x509"},
		"expired":            {expired, old, 0, "127.0.0.1", contract.VerdictTransient, "expired"},
		"wrong host":         {good, authority, 0, "localhost", contract.VerdictTransient, "localhost"},
		"TLS 1.1":            {good, authority, tls.VersionTLS11, "127.0.0.1", contract.VerdictTransient, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requested := false
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requested = true
				_, _ = io.WriteString(w, ownBody)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{test.certificate}, MinVersion: tls.VersionTLS10, MaxVersion: test.newest}
			server.StartTLS()
			t.Cleanup(server.Close)
			c := newClient(t, strings.Replace(server.URL, "127.0.0.1", test.host, 1), func(o *site.Options) {
				if test.authority != nil {
					o.Profile = profileWithAuthority(t, test.authority)
				}
			})
			wantReading(t, c, fetchCase(t, c), test.verdict, test.say)
			server.Close()
			if requested != (test.verdict == contract.VerdictSuccess) {
				t.Errorf("requested: %t", requested)
			}
		})
	}
}

// TestTLS_HandshakeTimeout: the request timeout includes the TLS handshake.
func TestTLS_HandshakeTimeout(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c := newClient(t, "https://"+listener.Addr().String(), func(o *site.Options) { o.RequestTimeout = 100 * time.Millisecond })
	began := time.Now()
	wantReading(t, c, fetchCase(t, c), contract.VerdictTransient, "request_timeout: longer than 100ms")
	if took := time.Since(began); took > soon {
		t.Errorf("took %s", took)
	}
}

// TestCAFile: an invalid file is rejected with its name, and only a profile from a file may have
// one.
func TestCAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("no.pem", "-----BEGIN NOTHING-----")
	for _, file := range []string{"no.pem", "missing.pem", ".", "/dev/zero"} {
		_, err := site.LoadFile(write("mine.toml", "name = \"mine\"\nlike = \"fct-cf\"\nca_file = \""+file+"\""))
		wantProfileError(t, err)
		if err == nil || !strings.Contains(err.Error(), "ca_file") {
			t.Errorf("%s: error %v, want ca_file in it", file, err)
		}
	}
	_, err := site.Parse([]byte("name = \"mine\"\nlike = \"fct-cf\"\nca_file = \"court.pem\""))
	wantProfileError(t, err)
}
