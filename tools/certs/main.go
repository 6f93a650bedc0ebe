// Command certs creates a CA and a certificate for the NATS servers of compose.yaml:
//
//	go run tools/certs/main.go FOLDER
//
// The CA's key is not written, so it signs nothing later; new certificates need a new CA.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity is how long the certificates are valid.
const validity = 5 * 365 * 24 * time.Hour

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "certs: want the folder for ca.pem, server.pem and server.key")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "certs:", err)
		os.Exit(1)
	}
}

func write(folder string) error {
	now := time.Now()
	ca := &x509.Certificate{
		Subject: pkix.Name{CommonName: "fct-scraper NATS"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity), IsCA: true, MaxPathLenZero: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: "nats"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		// Servers of a cluster are each other's clients.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"nats", "nats-1", "nats-2", "nats-3", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return err
	}
	authority, err := sign(ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	certificate, err := sign(server, ca, serverKey.Public(), caKey)
	if err != nil {
		return err
	}
	// ca.pem is written last: if it exists, all files do.
	for _, file := range []struct {
		name, kind string
		data       []byte
		mode       os.FileMode
	}{
		{"server.key", "PRIVATE KEY", key, 0o600}, {"server.pem", "CERTIFICATE", certificate, 0o644}, {"ca.pem", "CERTIFICATE", authority, 0o644},
	} {
		path := filepath.Join(folder, file.name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: file.kind, Bytes: file.data}), file.mode); err != nil {
			return err
		}
		if err := os.Chmod(path, file.mode); err != nil { // independent of the umask
			return err
		}
	}
	return nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}
