package fetcher

import (
	"time"

	"fct-scraper/pkg/contract"
)

// State is what a fetcher is doing just now, as people look at it.
type State struct {
	Site string `json:"site"`
	// InFlight are the cases that this fetcher asks for, Concurrency how many that may be over all fetchers.
	InFlight    int `json:"in_flight"`
	Concurrency int `json:"concurrency"`
	// PauseMinSeconds and PauseMaxSeconds bound the pause between two requests as it was promised.
	PauseMinSeconds float64 `json:"pause_min_seconds"`
	PauseMaxSeconds float64 `json:"pause_max_seconds"`
	// HoldSeconds is for how much longer nobody asks because the site is in trouble; 0 when it is not.
	HoldSeconds float64 `json:"hold_seconds"`
	// Wait is why nothing is asked just now beyond the promised pause; nil when nothing is held for long.
	Wait *contract.Wait `json:"wait"`
	// Block is the block in force, nil when there is none; Slowdown is how far trouble slows everybody down.
	Block    *contract.SiteBlock   `json:"block"`
	Slowdown contract.SiteSlowdown `json:"slowdown"`
}

// State is the state of this fetcher now.
func (s *Service) State() State {
	block, _ := s.climate.blocked(time.Now())
	s.climate.mu.Lock()
	slowdown := s.climate.slowdown
	s.climate.mu.Unlock()
	return State{
		Site: s.SiteName, InFlight: int(s.inFlight.Load()), Concurrency: s.Concurrency,
		PauseMinSeconds: s.Pace.Min.Seconds(), PauseMaxSeconds: s.Pace.Max.Seconds(), HoldSeconds: max(0, time.Until(slowdown.Until).Seconds()),
		Wait: s.waiting(), Block: block, Slowdown: slowdown,
	}
}

// waiting is why nothing is asked just now; nil while requests are made.
func (s *Service) waiting() *contract.Wait {
	now := s.pacer.Waiting()
	if now != nil {
		return now
	}
	s.crowd.mu.Lock()
	defer s.crowd.mu.Unlock()
	for w := range s.crowd.shifts {
		held := w.connecting.waiting()
		if held == nil { // requests are made for this run
			return nil
		}
		now = &held.Wait
	}
	return now
}
