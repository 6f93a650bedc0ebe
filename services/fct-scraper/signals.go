package main

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// signals are what people and supervisors ask a running batch by.
type signals struct {
	came chan os.Signal
	done chan struct{}
	// first is closed when the first signal has come.
	first chan struct{}
	got   atomic.Pointer[os.Signal]
}

// listen takes SIGINT and SIGTERM. The first closes first and gives the process until limit is over; the second ends it
// at once, which loses nothing: it is what a kill does.
func listen(limit time.Duration) *signals {
	s := &signals{came: make(chan os.Signal, 2), done: make(chan struct{}), first: make(chan struct{})}
	signal.Notify(s.came, os.Interrupt, syscall.SIGTERM)
	go func() {
		for {
			select {
			case <-s.done:
				return
			case came := <-s.came:
				if s.got.Load() != nil {
					os.Exit(s.code())
				}
				s.got.Store(&came)
				close(s.first)
				s.within(limit)
			}
		}
	}()
	return s
}

// within ends the process when it is still there after d: whatever holds it up, the promise is kept.
func (s *signals) within(d time.Duration) {
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			os.Exit(s.code())
		}
	}()
}

func (s *signals) close() {
	signal.Stop(s.came)
	close(s.done)
}

// code is the exit code for the first signal; 0 while none has come.
func (s *signals) code() int {
	got := s.got.Load()
	switch {
	case got == nil:
		return 0
	case *got == os.Interrupt:
		return codeInterrupt
	default:
		return codeTerminated
	}
}

// name is the first signal as people write it.
func (s *signals) name() string {
	if s.code() == codeInterrupt {
		return "SIGINT"
	}
	return "SIGTERM"
}
