package fcttest

import "testing"

// Long leaves a test out with -short: it takes long, and what it has the race detector watch is watched in shorter tests too.
func Long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: not with -short")
	}
}
