package fcttest

import "testing"

// SkipIfShort leaves a test out with -short, as the check has it under the race detector: it takes long there. The tests of the README's
// command run it.
func SkipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: not with -short")
	}
}
