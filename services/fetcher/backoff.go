package fetcher

import (
	"fmt"
	"net/http"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/delay"
)

// Backoff says how much longer everybody waits while a site is in trouble: at level n, what it waits before the n-th further
// try is added to the pause between two requests.
type Backoff delay.Exponential

const (
	// toleratedFailures is how many requests in a row may fail before everybody is slowed down: single failures are the matter of
	// their own retries. With one request in five failing by chance, one in 125 is the third in a row.
	toleratedFailures = 2
	// halfOpenLevel is the level from which on a single case at a time is asked for, as a trial, until an answer is clean.
	halfOpenLevel = 3
	// maxLevel keeps a long outage from being forgotten too slowly: each clean answer takes one level back.
	maxLevel = 12
)

// After is the slowdown after an exchange, and whether it differs in more than its count. wait is what the site asked for
// by Retry-After, draw is a chance in [0, 1). Requests that were in flight together when the site went down raise the
// level once. retry says that the number has failed before: a number raises the level at most once, so that a few numbers
// which fail for ever are no trouble of the site. A retry that fails while the level is raised repeats the wait of that level.
func (b Backoff) After(
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
	if counts := !x.StartedAt.Before(s.RaisedAt); counts && (retry && s.Level > 0 || !retry && s.Streak > toleratedFailures) {
		if !retry {
			s.Level = min(s.Level+1, maxLevel)
		}
		s.RaisedAt, s.Reason = now, reason
		s.Until = later(s.Until, now.Add(b.pause(s.Level, draw)))
		changed = true
	}
	if asked := now.Add(wait); wait > 0 && asked.After(s.Until) {
		s.Until, s.Reason = asked, reason
		changed = true
	}
	return s, changed
}

func (b Backoff) pause(level int, draw float64) time.Duration {
	return delay.Exponential(b).Before(level, draw)
}

// troubleReason is why an exchange says that the site is not well; empty when it does not say so.
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
