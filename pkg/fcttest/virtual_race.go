//go:build race

package fcttest

import "testing"

// VirtualTime skips the test under the race detector, which crashes now and then with a server in a
// bubble (a segmentation violation on the goroutine that runs the bubble's timers; similar to
// go.dev/issue/78156).
func VirtualTime(t *testing.T, _ func(*testing.T)) {
	t.Helper()
	t.Skip("virtual time and the race detector do not go together: go.dev/issue/78156")
}
