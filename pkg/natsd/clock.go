package natsd

import "github.com/nats-io/nats-server/v2/server/ats"

// StartAccessClock starts the goroutine that all servers of a process share for their access times, until release is called. A
// test in virtual time calls it before it enters its bubble (testing/synctest): started by a server inside, that
// goroutine would stay in the bubble for ever.
func StartAccessClock() (release func()) {
	ats.Register()
	return ats.Unregister
}
