//go:build !race

package fcttest

import (
	"runtime"
	"testing"
	"testing/synctest"

	"fct-scraper/pkg/natsd"
)

// VirtualTime runs a test in a bubble of virtual time with a real embedded server: hours pass in
// seconds. The test must not be parallel and must not use sockets inside. The server measures
// message ages by the real clock, so what expires in a bucket (presences, after 15 s) may expire at
// once if the test takes longer than that in real time.
func VirtualTime(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer natsd.StartAccessClock()()
	dropPools()
	defer dropPools()
	synctest.Test(t, test)
}

// dropPools empties every sync.Pool, which two collections do. The NATS client pools timers, and a
// timer that was created inside a bubble must not be used outside of it, nor the other way round.
func dropPools() {
	runtime.GC()
	runtime.GC()
}
