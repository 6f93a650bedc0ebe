package classifier

import (
	"context"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
)

// DigestOf returns the digest that the first exchange gets.
func DigestOf(exchanges []contract.Exchange) string { return addDigests(exchanges)[0].Digest }

// Classify classifies one delivery without acknowledging it, as if the process were killed before.
func Classify(ctx context.Context, s *Service, d bus.Delivery[contract.AnswerPack]) error {
	return s.classify(ctx, d, &copies{bus: s.Bus})
}
