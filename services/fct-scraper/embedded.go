package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/natsd"
)

// restartableServer is the server in this process that services work over, started as often as its store breaks.
type restartableServer struct {
	app    *app
	access connectOptions
	// broker is over the server that runs; nil while none does.
	broker *broker
	// lastServer is the server that ran last; nil before the first.
	lastServer *natsd.Server
}

// open closes the server that runs and starts it again, for which it waits until there is room. It returns the broker over it.
func (s *restartableServer) open(ctx context.Context) (*broker, error) {
	if err := s.close(); err != nil {
		return nil, err
	}
	told := false
	wait := func(reason error) {
		s.app.status.setWaiting(reason)
		if !told {
			s.app.log.Error("serve.waiting", "error", reason)
		}
		told = true
	}
	for {
		if s.lastServer != nil {
			if err := s.lastServer.AwaitSpace(ctx, wait); err != nil {
				return nil, err
			}
		}
		b, err := openBroker(ctx, s.app.settings.Config, s.access, s.app.log)
		if err == nil {
			s.broker, s.lastServer = b, b.server
			if err := b.serveHolderState(func() holderState { return holderState{Serves: true} }); err != nil {
				return nil, err
			}
			// Who was told the address finds the server there again.
			if at, err := url.Parse(b.url); err == nil {
				s.access.addr = at.Host
			}
			return b, nil
		}
		if !errors.Is(err, natsd.ErrNoSpace) {
			return nil, err
		}
		wait(err)
		if err := delay.Sleep(ctx, minRestartWait); err != nil {
			return nil, err
		}
	}
}

func (s *restartableServer) close() error {
	if s.broker == nil {
		return nil
	}
	err := s.broker.close()
	s.broker = nil
	if err != nil {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	return nil
}
