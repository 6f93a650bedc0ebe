//go:build race

package fcttest

import "testing"

// VirtualTime leaves the test to a run without the race detector: with a broker in a bubble the detector itself crashes now and then
// (a segmentation violation where it keeps stacks, on the goroutine that runs the bubble's timers; go.dev/issue/78156 is of that kind).
func VirtualTime(t *testing.T, _ func(*testing.T)) {
	t.Helper()
	t.Skip("virtual time and the race detector do not go together: go.dev/issue/78156")
}
