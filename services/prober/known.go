package prober

import (
	"context"
	"fmt"
	"strconv"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/runs"
)

// loadEvidence is what is collected of the run's year, and what the search may expect of it.
func (s *Service) loadEvidence(ctx context.Context, m contract.Manifest) (Settings, []Observation, error) {
	now := s.Now()
	settings := Settings{Year: m.Year, Range: m.Range, Budget: m.ProbeSpent + m.ProbeBudget}
	if now.Format("06") == m.Year {
		settings.DayOfYear = now.YearDay()
	}
	var known []Observation
	err := runs.EachOutcome(ctx, s.Bus, contract.BucketCollected, m.Site, m.Prefix, m.Year, func(number int, value contract.Collected) {
		switch {
		case value.Outcome == contract.Success:
			known = append(known, Observation{Number: number, Finding: Exists, FiledOn: value.FiledOn})
		case value.Outcome == contract.NoRecord && value.RunID != m.RunID && m.Skips(number, value): // this run's own: see learn
			known = append(known, Observation{Number: number, Finding: Absent, KnownSince: value.At})
		}
	})
	if err != nil {
		return settings, nil, err
	}
	err = runs.EachOutcome(ctx, s.Bus, contract.BucketCollected, m.Site, m.Prefix, previousYear(m.Year), func(number int, value contract.Collected) {
		if value.Outcome == contract.Success {
			settings.PreviousYearMax = max(settings.PreviousYearMax, number)
		}
	})
	return settings, known, err
}

// previousYear is the year before one of two digits.
func previousYear(year string) string {
	n, err := strconv.Atoi(year)
	if err != nil { // no manifest has such a year
		return year
	}
	return fmt.Sprintf("%02d", (n+99)%100)
}
