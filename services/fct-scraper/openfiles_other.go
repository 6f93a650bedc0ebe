//go:build !linux && !darwin

package main

// openFilesLimit is how many files this process may have open; 0 says that it is unknown.
func openFilesLimit() uint64 { return 0 }
