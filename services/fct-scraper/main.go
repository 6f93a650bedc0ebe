// Command fct-scraper collects all files of a court's web site.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A closed pipe, such as that of head, then is a write error and does not end the process.
	signal.Ignore(syscall.SIGPIPE)
	log.SetFlags(0)
	log.SetOutput(&libraryLog{})
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
