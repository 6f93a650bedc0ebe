package dashboard

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// markup wants to be more than text.
const markup = `"><img src=x onerror="window.attacked=1"><script>window.attacked=1</script>` + "\u202e\u001b[31m\u2028"

// withMarkup appends markup to every text of a JSON value, but for those of keys in kept.
func withMarkup(value any, kept ...string) any {
	switch v := value.(type) {
	case string:
		return v + markup
	case []any:
		for i := range v {
			v[i] = withMarkup(v[i], kept...)
		}
	case map[string]any:
		for key, inner := range v {
			if _, isText := inner.(string); isText && strings.Contains(strings.Join(kept, " "), key) {
				continue
			}
			v[key] = withMarkup(inner, kept...)
		}
	}
	return value
}

// newHostileFixture returns a fixture whose court appends markup to every text that it sends. A
// third of the answers keeps what identifies the case, so that they are records; a third does not, and
// a third is an error page.
func newHostileFixture(t testing.TB) *fixture {
	t.Helper()
	sim := fcttest.Site(t, courtsim.Options{Seed: 3, Max: 30})
	var served atomic.Int64
	court := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		sim.ServeHTTP(answer, r)
		var value any
		if json.Unmarshal(answer.Body.Bytes(), &value) != nil {
			value = answer.Body.String()
		}
		switch served.Add(1) % 3 {
		case 0:
			value = withMarkup(value, "COURT_NO", "Court_No", "COURT_NO_SEQ", "DATE", "Date", "DOC_DT", "DOC_NO", "REG_DT")
		case 1:
			value = withMarkup(value)
		default:
			w.Header().Set("Content-Type", "text/html; "+markup[:20])
			w.Header().Set("Location", "/"+strings.Map(printable, markup))
			w.WriteHeader(http.StatusFound)
			_, _ = w.Write([]byte("<html>" + markup))
			return
		}
		var body bytes.Buffer
		encoder := json.NewEncoder(&body)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(value)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body.Bytes())
	}))
	t.Cleanup(court.Close)
	return newFixture(t, courtsim.Options{Seed: 3, Max: 30},
		map[string]string{"base_url": court.URL, "max_retries": "0", "safe_stop_fails": "0"})
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return -1
	}
	return r
}

// TestAPI_HostileCourt: no text of a court steers a terminal or a browser that shows a response.
func TestAPI_HostileCourt(t *testing.T) {
	t.Parallel()
	f := newHostileFixture(t)
	run := string(f.start(batch(1, 30, "")))
	r := f.await(f.start(batch(1, 30, "")), ended)
	if r.Succeeded+r.Failed == 0 {
		t.Fatalf("%+v", r)
	}
	tried := 0
	for _, path := range []string{"/api/runs", "/api/runs/" + run, "/api/cases/IMM-1-25", "/api/cases/IMM-2-25", "/api/cases/IMM-3-25"} {
		status, header, body := f.request("GET", path, "", nil)
		if status != http.StatusOK || header.Get("Content-Type") != "application/json" || fcttest.HasControl(string(body), true) ||
			bytes.Contains(body, []byte("<script")) {
			t.Errorf("%s: %d %.2000q", path, status, body)
		}
		if bytes.Contains(body, []byte("attacked")) {
			tried++
		}
	}
	if tried == 0 {
		t.Error("no response has hostile text: nothing was tried")
	}
}
