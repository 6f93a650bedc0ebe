package natsd

import (
	"os"

	"golang.org/x/sys/windows"
)

func unlock(file *os.File) error {
	return windows.UnlockFileEx(windows.Handle(file.Fd()), 0, 1, 0, &windows.Overlapped{Offset: 1 << 30})
}

// tryLock locks a file for this process; it is an error if another one holds the lock. The locked
// byte is beyond the content, so that others can still read it.
func tryLock(file *os.File) error {
	const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	return windows.LockFileEx(windows.Handle(file.Fd()), how, 0, 1, 0, &windows.Overlapped{Offset: 1 << 30})
}
