//go:build unix

package natsd

import (
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks a file for this process alone; it is an error when another one has it.
func tryLock(file *os.File) error {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
