package classifier_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/services/classifier"
)

func TestEntryHasBodyDigests(t *testing.T) {
	t.Parallel()
	answered, planned := answer(1, 1, "transient"), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	answered.PlannedAt = planned
	answered.Exchanges = append(answered.Exchanges, contract.Exchange{Call: "header", Error: "reset"})
	entries, _ := classify(t, fcttest.Broker(t), answered)
	sum := sha256.Sum256([]byte("transient"))
	if got, want := entries[0].Requests[0].Digest, "sha256:"+hex.EncodeToString(sum[:]); got != want {
		t.Errorf("digest %q, want %q", got, want)
	}
	if got := entries[0].Requests[1].Digest; got != "" {
		t.Errorf("digest %q of an answer that never came", got)
	}
	if !entries[0].PlannedAt.Equal(planned) {
		t.Errorf("planned at %v, want %v", entries[0].PlannedAt, planned)
	}
}

// BenchmarkDigest is what a digest of an answer of usual size costs; a batch spends some 400 µs a number.
func BenchmarkDigest(b *testing.B) {
	exchange := []contract.Exchange{{Body: make([]byte, 5000)}}
	for b.Loop() {
		if got := classifier.DigestOf(exchange); got == "" {
			b.Fatal("no digest")
		}
	}
}
