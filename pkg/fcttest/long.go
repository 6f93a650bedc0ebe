package fcttest

import "testing"

// Long leaves a test out with -short, as the check has it under the race detector: it takes long there. The tests of the README's
// command run it.
func Long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: not with -short")
	}
}
