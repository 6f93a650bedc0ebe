package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// fetchFunc sends the requests of one attempt.
type fetchFunc func(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error)

// robotsMaxAge is how long a robots.txt is used before it is fetched again (RFC 9309, section 2.4).
const robotsMaxAge = 24 * time.Hour

// forbiddenError reports that robots.txt forbids the path of a case.
type forbiddenError struct{ path string }

// Error names the path and the setting that overrides robots.txt.
func (f forbiddenError) Error() string {
	return fmt.Sprintf("robots.txt of the site forbids %s to this program; set robots = false to fetch it anyway",
		f.path)
}

// robots is the site's robots.txt. One case at a time checks it; the first one fetches it.
type robots struct {
	fetch         Robots
	setCrawlDelay func(time.Duration)
	// current holds the rules that were fetched last.
	current chan fetchedRules
}

// fetchedRules are the rules and when they were fetched; the zero value was never fetched.
type fetchedRules struct {
	site.RobotsRules
	fetchedAt time.Time
}

func newRobots(fetch Robots, setCrawlDelay func(time.Duration)) *robots {
	r := &robots{fetch: fetch, setCrawlDelay: setCrawlDelay, current: make(chan fetchedRules, 1)}
	r.current <- fetchedRules{}
	return r
}

// wrap returns a fetchFunc that fetches robots.txt first if that is due, then calls fetch. The
// exchanges of robots.txt come first; they are the only ones if it could not be fetched or is a
// block. The error is a forbiddenError if robots.txt forbids the path of the case.
func (r *robots) wrap(fetch fetchFunc) fetchFunc {
	if r.fetch == nil {
		return fetch
	}
	return func(
		ctx context.Context, id contract.CaseID, before site.BeforeRequest,
	) ([]contract.Exchange, error) {
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

func (r *robots) check(
	ctx context.Context, id contract.CaseID, before site.BeforeRequest,
) ([]contract.Exchange, error) {
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
		r.setCrawlDelay(fetched.CrawlDelay())
	}
	if path, ok := rules.Allows(id); !ok {
		return exchanges, forbiddenError{path}
	}
	return exchanges, nil
}
