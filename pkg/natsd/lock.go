package natsd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// lockName is the locked file in the folder; it holds the process id of its holder. The kernel
// releases the lock with the process, however that ends, and an old file locks nothing.
const lockName = "fct-scraper.lock"

func lockFolder(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	if err := tryLock(file); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(file, 20)) // the process id only improves the message
		err = errors.Join(err, file.Close())
		return nil, fmt.Errorf("%w: process %s: %w", ErrLocked, strings.TrimSpace(string(holder)), err)
	}
	if err := writeHolder(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func writeHolder(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(file, "%d\n", os.Getpid())
	return err
}
