package main

import (
	"fmt"

	"fct-scraper/pkg/config"
)

// A batch was measured to keep 26 files open (the streams of the embedded server, output, terminal)
// and one connection a case in flight. On a busy machine a case has up to three more at once: a
// connection that a canceled request is closing, a redirect to another origin, and the file that is
// being written. With two a case, one run of four at concurrency 64 ended with "too many open
// files".
const (
	openFilesBase    = 40
	openFilesPerCase = 4
)

// checkOpenFiles refuses settings that need more open files than the limit: without the check the
// broker, the output or the site would fail, each with a different error. limit is the limit of the
// process, 0 if it has none.
func checkOpenFiles(c config.Config, limit uint64) error {
	need := uint64(openFilesBase + openFilesPerCase*c.Concurrency)
	if limit == 0 || limit >= need {
		return nil
	}
	return fmt.Errorf("%w: open files: the limit is %d, and concurrency %d needs %d: "+
		"raise it (ulimit -n %d) or lower concurrency", errUsage, limit, c.Concurrency, need, max(need, 1024))
}
