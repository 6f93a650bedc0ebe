package runtime

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// padded is a court whose answers for one case carry so much that two of them fit into no message.
type padded struct {
	court http.Handler
	id    string
	pad   []byte
}

func newPadded(court http.Handler, id string) *padded {
	random := make([]byte, 14<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	return &padded{court, id, []byte(`{"pad":"` + base64.StdEncoding.EncodeToString(random) + `",`)}
}

func (p *padded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("courtnumber") != p.id {
		p.court.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	p.court.ServeHTTP(answer, r)
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	_, _ = w.Write(bytes.Replace(answer.Body.Bytes(), []byte("{"), p.pad, 1)) // who went away misses nothing
}

// An answer that the store cannot hold is an attempt like any other: it counts, and the number fails in the end.
func TestMaxBody_AnswerTooLargeForStore(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 3, Max: 99999}, map[string]string{
		"end": "5", "parties": "true", "max_body": "31MiB", "max_retries": "2", "backoff_base": "10ms",
	})
	p.memory.court = newPadded(p.memory.court, "IMM-3-25")
	report := p.report(nil)
	if report.Status != contract.Completed || report.Succeeded != 4 || report.Failed != 1 || report.Retries != 2 {
		t.Errorf("%s: %d succeeded, %d failed, %d retries; want 4, 1 and 2", report.Status, report.Succeeded, report.Failed, report.Retries)
	}
	if made := p.memory.requests(); report.Requests != made {
		t.Errorf("the report counts %d requests, %d were made", report.Requests, made)
	}
	if len(report.Errors) != 1 || !strings.Contains(report.Errors[0].Error, "the store cannot hold this answer") {
		t.Errorf("errors %+v", report.Errors)
	}
}
