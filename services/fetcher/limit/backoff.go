package limit

import (
	"fmt"
	"net/http"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// Backoff is how much the pause between two requests grows while a site is in trouble: at level n
// it grows by the wait before the n-th retry.
type Backoff delay.Exponential

const (
	// toleratedFailures is how many requests in a row may fail before all requests are slowed down:
	// single failures are handled by their own retries. If one request in five fails by chance, one
	// in 125 is the third failure in a row.
	toleratedFailures = 2
	// halfOpenLevel is the level from which one case at a time probes the site, until an answer is
	// clean.
	halfOpenLevel = 3
	// maxLevel bounds how long the site takes to recover from a long outage: each clean answer
	// lowers the level by one.
	maxLevel = 12
)

// after returns the slowdown after an exchange, and whether more than its count changed. wait is
// the site's Retry-After; draw, in [0, 1), is a random number. Requests that were in flight
// together when the site went down raise the level once.
//
// retry says that the number has failed before. A number raises the level at most once, so that a
// few numbers that always fail do not count as trouble of the site. A retry that fails while the
// level is raised repeats the wait of that level.
func (b Backoff) after(
	s contract.SiteSlowdown, x contract.Exchange, retry bool, wait time.Duration, now time.Time, draw float64,
) (contract.SiteSlowdown, bool) {
	reason := troubleReason(x)
	if reason == "" {
		changed := s.Level > 0
		s.Streak, s.Level = 0, max(0, s.Level-1)
		if changed {
			s.Until, s.Reason = now.Add(b.pause(s.Level, draw)), ""
		}
		return s, changed
	}
	if !retry {
		s.Streak++
	}
	changed := false
	if counts := !x.StartedAt.Before(s.RaisedAt); counts &&
		(retry && s.Level > 0 || !retry && s.Streak > toleratedFailures) {
		if !retry {
			s.Level = min(s.Level+1, maxLevel)
		}
		s.RaisedAt, s.Reason = now, reason
		s.Until = later(s.Until, now.Add(b.pause(s.Level, draw)))
		changed = true
	}
	if retryAt := now.Add(wait); wait > 0 && retryAt.After(s.Until) {
		s.Until, s.Reason = retryAt, reason
		changed = true
	}
	return s, changed
}

func (b Backoff) pause(level int, draw float64) time.Duration {
	return delay.Exponential(b).Before(level, draw)
}

// troubleReason returns why an exchange counts as trouble of the site; empty if it does not.
func troubleReason(x contract.Exchange) string {
	switch {
	case x.Status == http.StatusRequestTimeout || x.Status >= http.StatusInternalServerError:
		return fmt.Sprintf("status %d", x.Status)
	case x.Error != "":
		return x.Error
	default:
		return ""
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
