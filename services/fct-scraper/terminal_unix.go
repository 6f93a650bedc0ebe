//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// notifyTerminal sends the changes of a terminal's size, and the stops by its user, to received.
func notifyTerminal(received chan<- os.Signal) {
	signal.Notify(received, syscall.SIGWINCH)
	if !signal.Ignored(syscall.SIGTSTP) {
		signal.Notify(received, syscall.SIGTSTP)
	}
}

// isStop reports whether the user of the terminal stops this process (Ctrl-Z).
func isStop(s os.Signal) bool { return s == syscall.SIGTSTP }

// stopSelf stops this process and returns when it goes on. A caught SIGTSTP does not stop it by itself.
// SIGSTOP may take effect a while after kill has returned, but never after SIGCONT.
func stopSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	if syscall.Kill(os.Getpid(), syscall.SIGSTOP) == nil {
		<-continued
	}
}
