package reporter

import (
	"errors"
	"testing"
	"time"
)

func TestNothingIsWrittenUnderALeaseThatSlipped(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 8)
	service := New(d.options())
	w := &worker{Service: service, lease: &lease{}, watch: &stopwatch{now: time.Now}, restored: new(bool)}
	w.lease.renewed(time.Now().Add(-leaseSlips - time.Second))
	if err := w.load(t.Context(), d.manifest.RunID); !errors.Is(err, errLeaseLost) {
		t.Fatalf("%v, want %v", err, errLeaseLost)
	}
	d.must(w.release())
	w.lease.renewed(time.Now())
	d.must(w.load(t.Context(), d.manifest.RunID))
	defer func() { d.must(w.lines.Close()) }()
	w.lease.renewed(time.Now().Add(-leaseSlips - time.Second))
	batch := []message{{sequence: 1, entries: mixed()[:2]}}
	if err := w.apply(t.Context(), batch); !errors.Is(err, errLeaseLost) {
		t.Errorf("%v, want %v", err, errLeaseLost)
	}
	d.must(w.release())
	if size := w.lines.Size(); size != 0 || len(d.files()) > 1 {
		t.Errorf("%d bytes of attempts, files %v", size, d.files())
	}
}
