package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// fetchFunc makes the requests of one attempt.
type fetchFunc func(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error)

// robotsMaxAge is how long a robots.txt is believed before it is read again (RFC 9309, 2.4).
const robotsMaxAge = 24 * time.Hour

// forbiddenError says that robots.txt lets a path not be asked for.
type forbiddenError struct{ path string }

// Error says so, and what can be done about it.
func (f forbiddenError) Error() string {
	return fmt.Sprintf("robots.txt of the site forbids %s to this program; robots = false asks all the same", f.path)
}

// robots is what the site's robots.txt says. One case at a time looks at it; the first one reads it.
type robots struct {
	fetch Robots
	pacer *Pacer
	// current holds what was read last.
	current chan fetchedRules
}

// fetchedRules are what was read, and when; the zero rules were never read.
type fetchedRules struct {
	site.RobotsRules
	fetchedAt time.Time
}

func newRobots(fetch Robots, pacer *Pacer) *robots {
	r := &robots{fetch: fetch, pacer: pacer, current: make(chan fetchedRules, 1)}
	r.current <- fetchedRules{}
	return r
}

// wrap is ask, ahead of which robots.txt is read when that is due. Its exchanges come before those of the case. When it could
// not be read, or is a block, there are no others. What it forbids is the error forbidden.
func (r *robots) wrap(fetch fetchFunc) fetchFunc {
	if r.fetch == nil {
		return fetch
	}
	return func(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
		robotsExchanges, err := r.check(ctx, id, before)
		switch {
		case errors.Is(err, site.ErrRobotsUnreachable):
			robotsExchanges[len(robotsExchanges)-1].Error = fmt.Sprintf("%.300s", err.Error())
			return robotsExchanges, nil
		case isRobotsBlock(err):
			return robotsExchanges, nil
		case err != nil:
			return robotsExchanges, err
		}
		exchanges, err := fetch(ctx, id, before)
		if len(exchanges) == 0 && err != nil {
			return robotsExchanges, err
		}
		return append(robotsExchanges, exchanges...), err
	}
}

func isRobotsBlock(err error) bool {
	var block *site.RobotsBlockedError
	return errors.As(err, &block)
}

func (r *robots) check(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	var rules fetchedRules
	select {
	case rules = <-r.current:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { r.current <- rules }()
	var exchanges []contract.Exchange
	if rules.fetchedAt.IsZero() || time.Since(rules.fetchedAt) > robotsMaxAge {
		fetched, err := r.fetch(ctx, before)
		if exchanges = fetched.Requests; err != nil {
			return exchanges, err
		}
		rules = fetchedRules{fetched, time.Now()}
		r.pacer.setCrawlDelay(fetched.CrawlDelay())
	}
	if path, ok := rules.Allows(id); !ok {
		return exchanges, forbiddenError{path}
	}
	return exchanges, nil
}
