//go:build !linux

package store

import "os"

// syncBatch syncs file by file where a whole file system cannot be synced.
func syncBatch(root *os.Root, temps []temp) error { return syncEach(root, temps) }
