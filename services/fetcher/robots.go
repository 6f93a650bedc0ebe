package fetcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// asker makes the requests of one attempt.
type asker func(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error)

// robotsAge is how long a robots.txt is believed before it is read again (RFC 9309, 2.4).
const robotsAge = 24 * time.Hour

// forbidden says that robots.txt lets a path not be asked for.
type forbidden struct{ path string }

// Error says so, and what can be done about it.
func (f forbidden) Error() string {
	return fmt.Sprintf("robots.txt of the site forbids %s to this program; robots = false asks all the same", f.path)
}

// robots is what the site's robots.txt says. One case at a time looks at it; the first one reads it.
type robots struct {
	read  Robots
	pacer *Pacer
	// turn holds what was read last.
	turn chan rules
}

// rules are what was read, and when; the zero rules were never read.
type rules struct {
	site.RobotsRules
	at time.Time
}

func newRobots(read Robots, pacer *Pacer) *robots {
	r := &robots{read: read, pacer: pacer, turn: make(chan rules, 1)}
	r.turn <- rules{}
	return r
}

// first is ask, ahead of which robots.txt is read when that is due. Its exchanges come before those of the case. When it could
// not be read, or is a block, there are no others. What it forbids is the error forbidden.
func (r *robots) first(ask asker) asker {
	if r.read == nil {
		return ask
	}
	return func(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
		made, err := r.look(ctx, id, before)
		switch {
		case errors.Is(err, site.ErrRobotsUnreachable):
			made[len(made)-1].Error = fmt.Sprintf("%.300s", err.Error())
			return made, nil
		case isBlock(err):
			return made, nil
		case err != nil:
			return made, err
		}
		exchanges, err := ask(ctx, id, before)
		if len(exchanges) == 0 && err != nil {
			return made, err
		}
		return append(made, exchanges...), err
	}
}

func isBlock(err error) bool {
	var block *site.RobotsBlockedError
	return errors.As(err, &block)
}

func (r *robots) look(ctx context.Context, id contract.CaseID, before func(context.Context) (time.Duration, error)) ([]contract.Exchange, error) {
	var now rules
	select {
	case now = <-r.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { r.turn <- now }()
	var made []contract.Exchange
	if now.at.IsZero() || time.Since(now.at) > robotsAge {
		read, err := r.read(ctx, before)
		if made = read.Requests; err != nil {
			return made, err
		}
		now = rules{read, time.Now()}
		r.pacer.slow(read.CrawlDelay())
	}
	if path, ok := now.Allows(id); !ok {
		return made, forbidden{path}
	}
	return made, nil
}
