// Command fct-scraper collects every file of a court, completely, politely and provably.
package main

import (
	"context"
	"os"
	"runtime/debug"
)

// softLimit is how much memory the program takes before its collector works harder, in bytes: what the store caches of
// the last seconds would else be doubled.
const softLimit = 112 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(softLimit)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
