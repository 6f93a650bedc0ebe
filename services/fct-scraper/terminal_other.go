//go:build !unix

package main

import "os"

// notifyTerminal does nothing: the size is read at each draw, and nobody stops a process.
func notifyTerminal(chan<- os.Signal) {}

func isStop(os.Signal) bool { return false }

func stopSelf() {}
