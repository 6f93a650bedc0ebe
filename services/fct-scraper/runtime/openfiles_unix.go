//go:build linux || darwin

package runtime

import "golang.org/x/sys/unix"

// openFilesLimit returns how many files this process may have open, 0 if unknown. The Go runtime
// has raised the soft limit to the hard limit.
func openFilesLimit() uint64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
