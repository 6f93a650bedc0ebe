//go:build !linux

package fcttest

import "testing"

// Disk returns a folder on the file system of all tests: only Linux lets a test mount one.
func Disk(t testing.TB, _ string) (dir string, mounted bool) {
	t.Helper()
	t.Log("NOT MOUNTED: a file system of its own needs Linux")
	return t.TempDir(), false
}

// Fill skips the test, because there is no Disk to fill.
func Fill(t testing.TB, _ string, _ int64) (empty func()) {
	t.Helper()
	t.Skip("a Disk needs Linux")
	return nil
}
