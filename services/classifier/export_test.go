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
	return s.classify(ctx, d, new(memory))
}

// HandleAndPoison handles one delivery in a memory that a larger pack has used before, and overwrites
// the memory after that.
func HandleAndPoison(ctx context.Context, s *Service, d bus.Delivery[[]byte]) error {
	m := &memory{make([]byte, maxKeptMemory), make([]byte, maxKeptMemory)}
	err := s.handle(ctx, d, m)
	for _, part := range [][]byte{m.bodies[:cap(m.bodies)], m.files[:cap(m.files)]} {
		for i := range part {
			part[i] = 0xFF
		}
	}
	return err
}
