//go:build !linux && !darwin

package runtime

// openFilesLimit returns how many files this process may have open; 0 means unknown.
func openFilesLimit() uint64 { return 0 }
