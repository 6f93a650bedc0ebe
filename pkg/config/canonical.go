package config

import "time"

// The defaults that the requirements name. The table of settings and the tests refer to them.
const (
	DefaultSafeStopNoRecords       = 500
	DefaultProbeBudget             = 200
	DefaultPersistRawHTML          = false
	DefaultConcurrency             = 4
	DefaultJobTimeout              = 300 * time.Second
	DefaultGracefulShutdownTimeout = 30 * time.Second
	// ProbeTypicalGoal is how many requests the search of a typical year may take. It limits no
	// search; a test compares the search with it.
	ProbeTypicalGoal = 50
)
