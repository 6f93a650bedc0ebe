package runs

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
)

// PublishedNumbers are the numbers of a run whose jobs lie in the stream, which keeps them all until the run is over.
func PublishedNumbers(ctx context.Context, b *bus.Bus, run contract.RunID) (map[int]bool, error) {
	subjects, err := b.Subjects(ctx, contract.StreamJobs, run.JobFilter())
	if err != nil {
		return nil, fmt.Errorf("reading which jobs are published: %w", err)
	}
	numbers := make(map[int]bool, len(subjects))
	for subject := range subjects {
		number, err := strconv.Atoi(subject[strings.LastIndexByte(subject, '.')+1:])
		if err == nil { // else not written by this program
			numbers[number] = true
		}
	}
	return numbers, nil
}
