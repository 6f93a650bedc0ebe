//go:build unix

package natsd

import (
	"os"

	"golang.org/x/sys/unix"
)

// unlock releases the lock at once. Closing the file is not enough: a forked child that has not yet
// started its program would still hold it.
func unlock(file *os.File) error { return unix.Flock(int(file.Fd()), unix.LOCK_UN) }

// tryLock locks a file for this process; it is an error if another one holds the lock.
func tryLock(file *os.File) error {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
