package natsd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// keyName is the file in the folder with the seed of the only user of a server with a port.
const keyName = "client.nk"

// loadKey returns the path of the seed file of the folder's server, which it creates if missing,
// and the user's public key. A file that others may read, or without a valid seed, is an error.
func loadKey(dir string) (path, public string, err error) {
	if path, err = filepath.Abs(filepath.Join(dir, keyName)); err != nil {
		return "", "", err
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKey(path); err == nil {
			info, err = os.Lstat(path)
		}
	}
	if err != nil {
		return "", "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", "", fmt.Errorf("%s: %s: want a file that only its owner may read; remove it, and a new key is created", path, info.Mode())
	}
	seed, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	pair, err := nkeys.ParseDecoratedNKey(seed)
	if err == nil {
		public, err = pair.PublicKey()
	}
	if err == nil && !nkeys.IsValidPublicUserKey(public) {
		err = nkeys.ErrInvalidUserSeed
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: %w: remove it, and a new key is created", path, err)
	}
	return path, public, nil
}

// createKey creates a user and writes its seed file atomically.
func createKey(path string) error {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), keyName+".*") // 0600
	if err != nil {
		return err
	}
	_, err = file.Write(append(seed, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
