package fcttest

import "testing"

// SkipIfShort skips a slow test with -short, which .ci/run sets under the race detector. It runs
// the tests again without.
func SkipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: not with -short")
	}
}
