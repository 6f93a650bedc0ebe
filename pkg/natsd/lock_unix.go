//go:build unix

package natsd

import (
	"os"

	"golang.org/x/sys/unix"
)

// unlock gives the lock back at once: closing the file alone leaves it to a child process that was forked and has not yet begun
// its program.
func unlock(file *os.File) error { return unix.Flock(int(file.Fd()), unix.LOCK_UN) }

// tryLock locks a file for this process alone; it is an error when another one has it.
func tryLock(file *os.File) error {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
