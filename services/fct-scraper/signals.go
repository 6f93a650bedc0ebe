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
	came chan os.Signal
	done chan struct{}
	// first is closed when the first signal has come.
	first chan struct{}
	got   atomic.Pointer[os.Signal]
	// last is called before the process ends at once, with its exit code.
	last func(code int)
}

// errCutOff says that a command had no time to end by itself.
var errCutOff = errors.New("ended at once by a signal, without a result: the same command goes on where it was")

// listen takes SIGINT, SIGTERM and, unless the caller ignores it as nohup does, SIGHUP. The first closes first and gives
// the process until limit is over; a second SIGINT or SIGTERM ends it at once, which loses nothing: it is what a kill does.
// A second SIGHUP does nothing: a terminal that closes may send it twice. last is called before the process ends at once.
func listen(limit time.Duration, last func(code int)) *signals {
	s := &signals{came: make(chan os.Signal, 2), done: make(chan struct{}), first: make(chan struct{}), last: last}
	signal.Notify(s.came, stopSignals()...)
	go func() {
		for {
			select {
			case <-s.done:
				return
			case came := <-s.came:
				switch {
				case s.got.Load() == nil:
					s.got.Store(&came)
					close(s.first)
					s.within(limit)
				case came != syscall.SIGHUP:
					s.end()
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

// within ends the process when it is still there after d: whatever holds it up, the promise is kept.
func (s *signals) within(d time.Duration) {
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
			s.end()
		}
	}()
}

func (s *signals) end() {
	s.last(s.code())
	os.Exit(s.code())
}

func (s *signals) close() {
	signal.Stop(s.came)
	close(s.done)
}

// code is the exit code for the first signal; 0 while none has come.
func (s *signals) code() int {
	got := s.got.Load()
	if got == nil {
		return 0
	}
	return codeOfSignal(*got)
}

// codeOfSignal is 128 and the number of the signal, as shells count.
func codeOfSignal(got os.Signal) int {
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
	switch s.code() {
	case codeInterrupt:
		return "SIGINT"
	case codeHangup:
		return "SIGHUP"
	default:
		return "SIGTERM"
	}
}
