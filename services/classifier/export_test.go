package classifier

import (
	"context"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
)

// DigestOf is the digest that the first exchange gets.
func DigestOf(exchanges []contract.Exchange) string { return addDigests(exchanges)[0].Digest }

// Classify does with one delivery what Run does, but acknowledges nothing: as when the process is killed then.
func Classify(ctx context.Context, s *Service, d bus.Delivery[contract.AnswerPack]) error {
	return s.classify(ctx, d, &copies{bus: s.Bus})
}
