//go:build !unix

package store

import "os"

// lockExclusive says no where folders cannot be locked: leftovers stay rather than being taken from another
// process.
func lockExclusive(*os.File) (bool, error) { return false, nil }

func lockShared(*os.File) error { return nil }

// lockNow keeps nobody off.
func lockNow(*os.File, bool) (bool, error) { return true, nil }

func unlock(*os.File) error { return nil }
