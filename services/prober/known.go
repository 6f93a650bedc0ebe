package prober

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"fct-scraper/pkg/contract"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// evidence is what is collected of the run's year, and what the search may expect of it.
func (s *Service) evidence(ctx context.Context, m contract.Manifest) (Settings, []Answer, error) {
	now := s.Now()
	settings := Settings{Range: m.Range, Budget: m.ProbeBudget}
	if now.Format("06") == m.Year {
		settings.DayOfYear = now.YearDay()
	}
	var known []Answer
	err := s.collected(ctx, m.Prefix, m.Year, func(number int, value contract.Collected) {
		switch {
		case value.Outcome == contract.Success:
			known = append(known, Answer{Number: number, Finding: Exists, FiledOn: value.FiledOn})
		case value.Outcome == contract.NoRecord && m.Skips(number, value.Outcome):
			known = append(known, Answer{Number: number, Finding: Absent})
		}
	})
	if err != nil {
		return settings, nil, err
	}
	err = s.collected(ctx, m.Prefix, yearBefore(m.Year), func(number int, value contract.Collected) {
		if value.Outcome == contract.Success {
			settings.LastMax = max(settings.LastMax, number)
		}
	})
	return settings, known, err
}

// yearBefore is the year before one of two digits.
func yearBefore(year string) string {
	n, err := strconv.Atoi(year)
	if err != nil { // no manifest has such a year
		return year
	}
	return fmt.Sprintf("%02d", (n+99)%100)
}

// collected hands every collected number of a series and year to each.
func (s *Service) collected(ctx context.Context, series, year string, each func(int, contract.Collected)) error {
	kv, err := s.Bus.KV(ctx, contract.BucketCollected)
	if err != nil {
		return err
	}
	watcher, err := kv.Watch(ctx, series+"."+year+".*", jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("reading what is collected: %w", err)
	}
	defer func() { _ = watcher.Stop() }()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case entry, open := <-watcher.Updates():
			if !open {
				return fmt.Errorf("reading what is collected: %w", nats.ErrConnectionClosed)
			}
			if entry == nil {
				return nil
			}
			id, err := contract.ParseKey(entry.Key())
			var value contract.Collected
			if err == nil && json.Unmarshal(entry.Value(), &value) == nil { // what is no case's key is left alone
				each(id.Number, value)
			}
		}
	}
}
