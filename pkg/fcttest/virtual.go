//go:build !race

package fcttest

import (
	"runtime"
	"testing"
	"testing/synctest"

	"fct-scraper/pkg/natsd"
)

// VirtualTime runs a test in a bubble of virtual time in which a real broker works: hours pass in seconds. The test that
// calls it must not be parallel, and uses no sockets inside. The server tells a message's age by the real clock, so what
// expires in a bucket (the fetchers' presence, after 15 s) may be gone at once when a test goes on for longer than that.
func VirtualTime(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer natsd.StartAccessClock()()
	dropPools()
	defer dropPools()
	synctest.Test(t, test)
}

// dropPools empties every sync.Pool: what has lain there for two collections is gone. The NATS client keeps timers in one,
// and a timer made inside a bubble must not be used outside of it, nor the other way round.
func dropPools() {
	runtime.GC()
	runtime.GC()
}
