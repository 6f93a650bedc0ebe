package main

import (
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// signals receives the signals that stop a command.
type signals struct {
	received chan os.Signal
	done     chan struct{}
	// firstReceived is closed when the first signal arrives.
	firstReceived chan struct{}
	firstSignal   atomic.Pointer[os.Signal]
	// beforeExit is called with the exit code before the process exits at once.
	beforeExit func(code int)
}

// errAborted reports that a command was aborted by a signal.
var errAborted = errors.New("aborted by a signal, without a result: the same command resumes the work")

// listenSignals receives SIGINT, SIGTERM and, unless it is ignored as under nohup, SIGHUP. The
// first signal closes firstReceived; if the process still runs after limit, it exits. A second
// SIGINT or SIGTERM exits at once. Like a kill, that loses no data. A second SIGHUP has no effect:
// a closing terminal may send two. beforeExit is called before an exit at once.
func listenSignals(limit time.Duration, beforeExit func(code int)) *signals {
	s := &signals{
		received:      make(chan os.Signal, 2),
		done:          make(chan struct{}),
		firstReceived: make(chan struct{}),
		beforeExit:    beforeExit,
	}
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

// stopSignals returns the signals that stop a command that runs without end.
func stopSignals() []os.Signal {
	stop := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		stop = append(stop, syscall.SIGHUP)
	}
	return stop
}

// exitAfter exits if the process still runs after d, whatever delays it.
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

// Requested is closed when the first signal arrives.
func (s *signals) Requested() <-chan struct{} { return s.firstReceived }

// Name returns the name of the first signal, "" before it.
func (s *signals) Name() string {
	switch got := s.firstSignal.Load(); {
	case got == nil:
		return ""
	case *got == os.Interrupt:
		return "SIGINT"
	case *got == syscall.SIGHUP:
		return "SIGHUP"
	default:
		return "SIGTERM"
	}
}

// exitCode returns the exit code for the first signal, 0 before it.
func (s *signals) exitCode() int { return signalExitCode(s.Name()) }

// signalExitCode returns 128 plus the number of the signal, as shells do; 0 for no signal.
func signalExitCode(name string) int {
	switch name {
	case "":
		return 0
	case "SIGINT":
		return codeInterrupt
	case "SIGHUP":
		return codeHangup
	default:
		return codeTerminated
	}
}
