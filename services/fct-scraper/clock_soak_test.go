//go:build soak

package main

import (
	"testing"
	"time"
)

// TestClockStepsOfAllSizes is TestClockStepsInARun with every size of step.
func TestClockStepsOfAllSizes(t *testing.T) {
	t.Parallel()
	program := buildShiftable(t)
	for _, by := range []time.Duration{-10 * time.Second, -10 * time.Minute, -24 * time.Hour, time.Hour} {
		t.Run(by.String()+" while it runs", func(t *testing.T) { t.Parallel(); stepWhileRunning(t, program, by) })
		t.Run(by.String()+" between stop and start", func(t *testing.T) { t.Parallel(); stepWhileStopped(t, program, by) })
	}
}
