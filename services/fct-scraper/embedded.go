package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/natsd"
)

// restartableServer is the server in this process that services use. It is restarted whenever its
// store fails.
type restartableServer struct {
	app    *app
	access connectOptions
	// broker uses the current server; nil while none runs.
	broker *broker
	// lastServer is the most recently started server; nil before the first.
	lastServer *natsd.Server
}

// open stops the current server, waits until the disk has space, and starts the server again. It
// returns the broker of the new server.
func (s *restartableServer) open(ctx context.Context) (*broker, error) {
	if err := s.close(); err != nil {
		return nil, err
	}
	logged := false
	wait := func(reason error) {
		s.app.status.setWaiting(reason)
		if !logged {
			s.app.log.Error("serve.waiting", "error", reason)
		}
		logged = true
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
			// Clients that know the address find the restarted server there.
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
