package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/natsd"
)

// embedded is the server in this process that services work over, started as often as its store breaks.
type embedded struct {
	h      *house
	access access
	// broker is over the server that runs; nil while none does.
	broker *broker
	// last is the server that ran last; nil before the first.
	last *natsd.Server
}

// open closes the server that runs and starts it again, for which it waits until there is room. It returns the broker over it.
func (e *embedded) open(ctx context.Context) (*broker, error) {
	if err := e.close(); err != nil {
		return nil, err
	}
	told := false
	wait := func(reason error) {
		e.h.front.wait(reason)
		if !told {
			e.h.log.Error("serve.waiting", "error", reason)
		}
		told = true
	}
	for {
		if e.last != nil {
			if err := e.last.AwaitSpace(ctx, wait); err != nil {
				return nil, err
			}
		}
		b, err := openBroker(ctx, e.h.settings.Config, e.access, e.h.log)
		if err == nil {
			e.broker, e.last = b, b.server
			if err := b.tellHolder(func() holding { return holding{Serves: true} }); err != nil {
				return nil, err
			}
			// Who was told the address finds the server there again.
			if at, err := url.Parse(b.url); err == nil {
				e.access.addr = at.Host
			}
			return b, nil
		}
		if !errors.Is(err, natsd.ErrNoSpace) {
			return nil, err
		}
		wait(err)
		if err := delay.Sleep(ctx, againLeast); err != nil {
			return nil, err
		}
	}
}

func (e *embedded) close() error {
	if e.broker == nil {
		return nil
	}
	err := e.broker.close()
	e.broker = nil
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	return nil
}
