// Command fct-scraper collects every file of a court, completely, politely and provably.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A reader that went away, such as head, is an error of a write like any other, and no end of the process.
	signal.Ignore(syscall.SIGPIPE)
	log.SetFlags(0)
	log.SetOutput(&libraryLog{})
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
