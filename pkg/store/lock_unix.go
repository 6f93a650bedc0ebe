//go:build unix

package store

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockExclusive tries to lock the folder exclusively; false means that another process has it open.
func lockExclusive(folder *os.File) (bool, error) {
	err := flock(folder, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return err == nil, err
}

// lockShared waits until no other process removes leftovers; the lock ends with the file or the
// process. A file system without locks only means that leftovers stay.
func lockShared(folder *os.File) error {
	err := flock(folder, unix.LOCK_SH)
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

// lockNow tries to lock a file, shared or exclusively. It succeeds on file systems without locks.
func lockNow(file *os.File, shared bool) (bool, error) {
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	err := flock(file, how|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOTSUP):
		return true, nil
	default:
		return err == nil, err
	}
}

func unlock(file *os.File) error { return flock(file, unix.LOCK_UN) }

func flock(folder *os.File, how int) error {
	for {
		err := unix.Flock(int(folder.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
