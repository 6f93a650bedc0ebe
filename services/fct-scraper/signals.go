package main

import (
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// signals are what people and supervisors ask a running batch by.
type signals struct {
	received chan os.Signal
	done     chan struct{}
	// firstReceived is closed when the first signal has come.
	firstReceived chan struct{}
	firstSignal   atomic.Pointer[os.Signal]
	// beforeExit is called before the process ends at once, with its exit code.
	beforeExit func(code int)
}

// errAborted says that a command had no time to end by itself.
var errAborted = errors.New("ended at once by a signal, without a result: the same command goes on where it was")

// listenSignals takes SIGINT, SIGTERM and, unless the caller ignores it as nohup does, SIGHUP. The first closes first and gives
// the process until limit is over; a second SIGINT or SIGTERM ends it at once, which loses nothing: it is what a kill does.
// A second SIGHUP does nothing: a terminal that closes may send it twice. last is called before the process ends at once.
func listenSignals(limit time.Duration, last func(code int)) *signals {
	s := &signals{received: make(chan os.Signal, 2), done: make(chan struct{}), firstReceived: make(chan struct{}), beforeExit: last}
	signal.Notify(s.received, stopSignals()...)
	go func() {
		for {
			select {
			case <-s.done:
				return
			case came := <-s.received:
				switch {
				case s.firstSignal.Load() == nil:
					s.firstSignal.Store(&came)
					close(s.firstReceived)
					s.exitAfter(limit)
				case came != syscall.SIGHUP:
					s.exitNow()
				}
			}
		}
	}()
	return s
}

// stopSignals are the signals that stop a command which runs until it is told to end.
func stopSignals() []os.Signal {
	stop := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		stop = append(stop, syscall.SIGHUP)
	}
	return stop
}

// exitAfter ends the process when it is still there after d: whatever holds it up, the promise is kept.
func (s *signals) exitAfter(d time.Duration) {
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			s.exitNow()
		}
	}()
}

func (s *signals) exitNow() {
	s.beforeExit(s.exitCode())
	os.Exit(s.exitCode())
}

func (s *signals) close() {
	signal.Stop(s.received)
	close(s.done)
}

// exitCode is the exit code for the first signal; 0 while none has come.
func (s *signals) exitCode() int {
	got := s.firstSignal.Load()
	if got == nil {
		return 0
	}
	return signalExitCode(*got)
}

// signalExitCode is 128 and the number of the signal, as shells count.
func signalExitCode(got os.Signal) int {
	switch got {
	case os.Interrupt:
		return codeInterrupt
	case syscall.SIGHUP:
		return codeHangup
	default:
		return codeTerminated
	}
}

// name is the first signal as people write it.
func (s *signals) name() string {
	switch s.exitCode() {
	case codeInterrupt:
		return "SIGINT"
	case codeHangup:
		return "SIGHUP"
	default:
		return "SIGTERM"
	}
}
