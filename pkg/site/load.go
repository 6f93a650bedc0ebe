package site

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

//go:embed profiles/*.toml
var builtIn embed.FS

// BuiltIn are the names of the profiles that come with the program.
func BuiltIn() []string {
	// The folder is embedded: listing it cannot fail.
	names, _ := fs.Glob(builtIn, "profiles/*.toml")
	for i, name := range names {
		names[i] = strings.TrimSuffix(strings.TrimPrefix(name, "profiles/"), ".toml")
	}
	slices.Sort(names)
	return names
}

// Load reads the built-in profile of that name. Its error wraps ErrProfile.
func Load(name string) (*Profile, error) {
	if !slices.Contains(BuiltIn(), name) {
		return nil, fmt.Errorf("%w: %.60q: allowed are %s, or a file", ErrProfile, name, strings.Join(BuiltIn(), ", "))
	}
	data, err := builtIn.ReadFile("profiles/" + name + ".toml")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return Parse(data)
}

// LoadFile reads a profile from a regular file of at most 1 MiB; anything else is refused at once, a FIFO too. Its error
// wraps ErrProfile and names the file.
func LoadFile(path string) (*Profile, error) {
	data, err := readRegularFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	p, err := parseFrom(filepath.Dir(path), data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// readRegularFile reads one byte more than a profile may have, so that Parse sees that it is too large.
func readRegularFile(path string) ([]byte, error) {
	// Opening a FIFO waits for a writer unless it is told not to.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: allowed is a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxProfileSize+1))
}
