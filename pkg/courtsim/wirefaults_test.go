package courtsim_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// response is the response to a request; at most readAtMost bytes of the body are read, and
// keepAtMost kept.
type response struct {
	status int
	header http.Header
	body   string
	read   int
	err    error
}

const (
	readAtMost = 32 << 20
	keepAtMost = 4 << 20
)

// fetch requests a URL on a new connection, without following redirects, and waits at most atMost.
func fetch(t testing.TB, url string, atMost time.Duration) response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	got, err := client.Do(request)
	if err != nil {
		return response{err: err}
	}
	defer func() { _ = got.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(got.Body, readAtMost))
	return response{got.StatusCode, got.Header, string(text[:min(len(text), keepAtMost)]), len(text), err}
}

// wantedResponse is what a kind of fault must send; zero fields are not checked.
type wantedResponse struct {
	status int
	text   string
	header string
	value  string
	length int
	err    error
	cause  string // of an error that has no name
	brief  bool   // it ends with the client's patience
}

func wantedFaults() map[string]wantedResponse {
	const page, count, after = "Server Error", `{"Count"`, "Retry-After"
	all := map[string]wantedResponse{
		"204":       {status: 204},
		"503":       {status: 503, text: page, header: after, value: "1"},
		"403":       {status: 403, text: "Forbidden", header: after},
		"403-after": {status: 403, header: after, value: "120"},
		"429":       {status: 429, header: after, value: "120"}, "429-bare": {status: 429, header: after},
		"429-date":      {status: 429, text: "Too many"},
		"429-past":      {status: 429, header: after, value: "Thu, 01 Jan 1970 00:00:00 GMT"},
		"429-absurd":    {status: 429, header: after, value: "99999999999"},
		"429-negative":  {status: 429, header: after, value: "-1"},
		"429-words":     {status: 429, header: after, value: "soon"},
		"waf":           {status: 200, text: "support ID", header: "Content-Type", value: html8},
		"waf-json":      {status: 200, text: "support ID", header: "Content-Type", value: json8},
		"captcha":       {status: 200, text: "captcha", header: "Content-Type", value: json8},
		"challenge":     {status: 200, text: "captcha", header: "Content-Type", value: html8},
		"challenge-503": {status: 503, text: "challenge-platform"},
		"timeout":       {err: context.DeadlineExceeded, brief: true},
		"slow":          {err: context.DeadlineExceeded, brief: true},
		"drip":          {status: 200, text: `{`, err: context.DeadlineExceeded, brief: true},
		"slowheader":    {err: context.DeadlineExceeded, brief: true},
		"hints":         {err: context.DeadlineExceeded, brief: true}, "reset": {err: syscall.ECONNRESET},
		"truncated":  {status: 200, err: io.ErrUnexpectedEOF, text: count},
		"bad-status": {cause: "malformed HTTP status"},
		"bad-chunk":  {status: 200, cause: "invalid byte in chunk length"}, "two-lengths": {cause: "Content-Length"},
		"gzipbomb": {status: 200, text: count, length: readAtMost}, "gzip-twice": {status: 200, text: "\x1f\x8b"},
		"br":          {status: 200, text: count, header: "Content-Encoding", value: "br"},
		"huge":        {status: 200, text: count, length: readAtMost},
		"huge-length": {status: 200, length: readAtMost, header: "Content-Length", value: "268435456"},
		"big-header":  {cause: "server response headers exceeded"}, "cookies": {status: 200, text: count},
		"redirect": {status: 302, header: "Location",
			value: "/CourtFilesAndDecisions/proceedingQueriesRE?__hop=0&courtnumber=IMM-1-25&division=t"},
		"redirect-chain": {status: 302, header: "Location",
			value: "/CourtFilesAndDecisions/proceedingQueriesRE?__hop=4&courtnumber=IMM-1-25&division=t"},
		"redirect-loop": {status: 302, header: "Location",
			value: "/CourtFilesAndDecisions/proceedingQueriesRE?__hop=loop&courtnumber=IMM-1-25&division=t"},
		"redirect-away":   {status: 302},
		"redirect-user":   {status: 302},
		"redirect-scheme": {status: 302},
		"redirect-local":  {status: 302, header: "Location", value: "http://169.254.169.254/latest/meta-data/"},
		"halfjson":        {status: 200, text: count}, "html": {status: 200, text: "Sorry, an error"},
		"empty":   {status: 200, header: "Content-Length", value: "0"},
		"garbage": {status: 200, text: "garbage"}, "error-object": {status: 200, text: `{"Message":`},
		"json-null": {status: 200, text: "null"},
		"json-list": {status: 200, text: "[]"}, "json-deep": {status: 200, text: "[[[[", length: 200_000},
		"trailing": {status: 200, text: "]}<html>"},
		"twice":    {status: 200, text: `]}{"Count"`},
		"plain":    {status: 200, text: count, header: "Content-Type", value: "text/plain; charset=utf-8"},
		"untyped":  {status: 200, text: count, header: "Content-Type"}, "charset": {status: 200, text: "\xe9"},
		"latin1": {status: 200, text: "\xe9", header: "Content-Type", value: "application/json; charset=iso-8859-1"},
		"bom":    {status: 200, text: "\ufeff{"}, "utf16": {status: 200, text: "\xff\xfe{\x00\"\x00"},
		"wrong": {status: 200, text: `"IMM-2-25"`}, "softblock": {status: 200, text: `{"Count":0  ,"data":[]}`},
	}
	for kind, status := range map[string]int{"500": 500, "502": 502, "504": 504, "404": 404, "418": 418, "299": 299,
		"999": 999} {
		all[kind] = wantedResponse{status: status, text: page}
	}
	return all
}

const (
	html8 = "text/html; charset=utf-8"
	json8 = "application/json; charset=utf-8"
)

func TestFaults_OverHTTP(t *testing.T) {
	t.Parallel()
	kinds := wantedFaults()
	fcttest.RunAtOnce(t, kinds, func(t *testing.T, kind string, want wantedResponse) {
		sim, url := serve(t, courtsim.Fault{Kind: kind, Share: 1})
		patience := time.Minute
		if want.brief {
			patience = 5 * time.Second
		}
		got := fetch(t, url+callPath("proceedingQueriesRE", 1), patience)
		if got.status != want.status || !strings.Contains(got.body, want.text) {
			t.Errorf("status %d, %.60q; want %d, %q", got.status, got.body, want.status, want.text)
		}
		if !errors.Is(got.err, want.err) && want.cause == "" || want.cause != "" &&
			(got.err == nil || !strings.Contains(got.err.Error(), want.cause)) {
			t.Errorf("error %v, want %v %s", got.err, want.err, want.cause)
		}
		if want.header != "" && got.header.Get(want.header) != want.value {
			t.Errorf("%s %q, want %q", want.header, got.header.Get(want.header), want.value)
		}
		if want.length > 0 && got.read != want.length {
			t.Errorf("%d bytes, want %d", got.read, want.length)
		}
		stats := sim.Stats()
		if block := slices.Contains(courtsim.BlockKinds(), kind); stats.Faults[kind] != 1 ||
			(stats.FirstBlock != "") != block {
			t.Errorf("%d faults counted, first block %q", stats.Faults[kind], stats.FirstBlock)
		}
	})
	for _, kind := range courtsim.FaultKinds() {
		if _, here := kinds[kind]; !here && !slices.Contains(rowFaults(), kind) {
			t.Errorf("nobody tries %s", kind)
		}
	}
}

// TestFaultHelp: the help text describes every kind.
func TestFaultHelp(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSuffix(courtsim.FaultHelp(), "\n"), "\n")
	kinds := courtsim.FaultKinds()
	if len(lines) != len(kinds) {
		t.Fatalf("%d lines, %d kinds", len(lines), len(kinds))
	}
	for i, line := range lines {
		if words := strings.Fields(line); words[0] != kinds[i] || len(words) < 2 {
			t.Errorf("line %q, kind %s", line, kinds[i])
		}
	}
}

// TestGzipBomb: a bomb is small when compressed; each of its 1024 members expands to 1 MiB.
func TestGzipBomb(t *testing.T) {
	t.Parallel()
	_, url := serve(t, courtsim.Fault{Kind: "gzipbomb", Share: 1})
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	response, err := (&http.Client{Transport: transport}).Get(url + callPath("proceedingQueriesRE", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	wire, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	member := wire[bytes.LastIndex(wire, []byte("\x1f\x8b\x08")):]
	text, err := gzip.NewReader(bytes.NewReader(member))
	if err != nil {
		t.Fatal(err)
	}
	size, err := io.Copy(io.Discard, text)
	if members := bytes.Count(wire, member); err != nil || size != 1<<20 || members != 1024 || len(wire) > 2<<20 {
		t.Errorf("%d bytes on the wire, %d members of %d: %v", len(wire), members, size, err)
	}
}

// TestRedirectFaults: following redirects leads to the correct response or never ends. Each hop is
// a request, and only clients that leave the origin count as strays.
func TestRedirectFaults(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct{ requests, strays, faults int }{
		"redirect": {requests: 2, faults: 1}, "redirect-chain": {requests: 6, faults: 1},
		"redirect-loop": {requests: 10, faults: 1},
		"redirect-away": {requests: 1, strays: 1, faults: 1}, "redirect-user": {requests: 1, strays: 1, faults: 1},
	} {
		sim, url := serve(t, courtsim.Fault{Kind: kind, Share: 1})
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get(url + callPath("proceedingQueriesRE", 1))
		if err == nil {
			err = response.Body.Close()
		}
		if (err != nil) != (kind == "redirect-loop") {
			t.Errorf("%s: %v", kind, err)
		}
		if s := sim.Stats(); s.Requests != want.requests || s.Strays != want.strays || s.Faults[kind] != want.faults {
			t.Errorf("%s: %d requests, %d strays, %d faults; want %+v", kind, s.Requests, s.Strays, s.Faults[kind],
				want)
		}
	}
	_, url := serve(t, courtsim.Fault{Kind: "redirect", Share: 1})
	first := fetch(t, url+callPath("proceedingQueriesRE", 1), time.Minute)
	second := fetch(t, url+first.header.Get("Location"), time.Minute)
	var rows struct {
		Count int `json:"Count"`
	}
	if err := json.Unmarshal([]byte(second.body), &rows); err != nil || rows.Count == 0 ||
		second.body != plainResponse(t, 1) {
		t.Errorf("behind the redirect: %v, %.80q", err, second.body)
	}
}

// plainResponse returns the response of a simulator with the same options but without faults.
func plainResponse(t testing.TB, n int) string {
	t.Helper()
	return get(newSimulator(t, courtsim.Options{Seed: 3, Max: 100}), callPath("proceedingQueriesRE", n)).Body.String()
}
