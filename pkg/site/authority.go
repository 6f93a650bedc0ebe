package site

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
)

// readAuthorities are the system's authorities and those of a PEM file; a relative path is one from the folder of the
// profile. They are added, never put in the place of the system's.
func readAuthorities(folder, path string) (*x509.CertPool, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(folder, path)
	}
	data, err := readRegularFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("ca_file: reading the system's authorities: %w", err)
	}
	if len(data) > maxProfileSize || !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("ca_file %.200q: allowed is a PEM file with certificates, of at most %d bytes", path, maxProfileSize)
	}
	return pool, nil
}
