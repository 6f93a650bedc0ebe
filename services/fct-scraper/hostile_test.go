package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/site"
	"fct-scraper/services/fct-scraper/runtime"
	"fct-scraper/services/generator"
)

// corpus is text that wants to be more than text, with a word in each that shows that it was shown at all.
func corpus() []string {
	return []string{
		"seen\x1b[31mred\x1b]0;title\x07",
		`seen\x1b[31m as written, with a space`,
		"seen\x1bc\u009b2J\u0090q\u009c",
		"seen\u202egnp.exe\u2066x\u2069\u061c\u200f",
		"seen\nlevel=ERROR msg=forged\r\n{\"level\":\"ERROR\"}",
		"seen\u2028two\u2029three\vfour\ffive",
		"seen\x00nul\x7fdel\bback\ttab",
		"seen\xff\x9b31m\xe2\x80",
		`seen"><script>alert(1)</script>{{.}}%s%n`,
	}
}

func TestLog_HostileErrors(t *testing.T) {
	t.Parallel()
	for _, text := range corpus() {
		base := errors.New(text)
		_, refused := generator.ReadStart([]byte(`{"`+text+`": "`+text+`"}`), contract.Batch{})
		_, missing := os.Open(text)
		_, profile := site.LoadFile(text)
		for name, c := range map[string]struct {
			err   error
			lines int
		}{
			"bare":     {base, 1},
			"wrapped":  {fmt.Errorf("%w: reading %s: %w", runtime.ErrUsage, "x", base), 1},
			"joined":   {fmt.Errorf("closing: %w", errors.Join(base, errors.New("seen two"), base)), 3},
			"settings": {&config.Error{Problems: []string{text, "seen"}}, 2},
			"rejected": {refused, 1},
			"file":     {missing, 1},
			"profile":  {profile, 1},
		} {
			shown := errorText(c.err)
			if lines := strings.Count(shown, "\n") + 1; fcttest.HasControl(shown, true) || lines != c.lines || !strings.Contains(shown, "seen") {
				t.Errorf("%s %q: %q, %d lines, want %d", name, text, shown, lines, c.lines)
			}
		}
	}
}

// named is a value that says its own text.
type named string

func (n named) MarshalText() ([]byte, error) { return []byte(n), nil }

func TestLog_HostileAttributes(t *testing.T) {
	t.Parallel()
	for _, text := range corpus() {
		for _, format := range []string{"json", "text"} {
			for _, terminal := range []bool{true, false} {
				var out bytes.Buffer
				log := newLogger(config.Config{LogFormat: format, LogLevel: "info"}, nil, terminal, &out)
				for _, value := range []any{text, errors.New(text), contract.RunID(text), []string{text}, named(text), slog.GroupValue(slog.String("in", text))} {
					out.Reset()
					log.Error("test.event", "value", value)
					line := strings.TrimSuffix(out.String(), "\n")
					if format == "json" && !json.Valid([]byte(line)) {
						t.Errorf("no JSON: %q", line)
					}
					if format == "text" && terminal {
						line = uncoloured(line)
					}
					if fcttest.HasControl(line, false) || !strings.Contains(line, "seen") {
						t.Errorf("%s on a terminal %t: %T %q: %q", format, terminal, value, text, line)
					}
				}
			}
		}
	}
}

// uncoloured takes the colours away that the handler for people puts around the level and the keys.
func uncoloured(line string) string {
	return strings.NewReplacer("\x1b[0m", "", "\x1b[2m", "", "\x1b[91m", "").Replace(line)
}

func TestProgress_HostileText(t *testing.T) {
	t.Parallel()
	for _, text := range corpus() {
		var out bytes.Buffer
		s := &progressDisplay{out: &out, style: "json"}
		s.show(contract.Event{Report: &contract.Report{Reason: text}}, nil)
		if line := strings.TrimSuffix(out.String(), "\n"); fcttest.HasControl(line, false) || !json.Valid([]byte(line)) {
			t.Errorf("%q: %q", text, line)
		}
		shown := summary(contract.Report{StartID: text, EndID: text, End: 1, Reason: text, Errors: []contract.ErrorSample{{Error: text}}}, text, text)
		if lines := strings.Count(shown, "\n"); fcttest.HasControl(shown, true) || lines != 8 {
			t.Errorf("%q: %d lines of summary: %q", text, lines, shown)
		}
	}
}

// hostileCourt answers with the corpus in every place that an answer has.
func hostileCourt(t *testing.T) string {
	t.Helper()
	texts := corpus()
	var served atomic.Int64
	court := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		number := int(served.Add(1)) - 1
		text := texts[number%len(texts)]
		header := strings.Map(func(r rune) rune { // what net/http lets a header carry
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, text)
		kind := number / len(texts) % 5
		w.Header().Set("Content-Type", "text/"+header)
		w.Header().Set("Retry-After", header)
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Error(err)
		}
		body := ""
		switch kind {
		case 0:
			w.WriteHeader(http.StatusInternalServerError)
			body = text
		case 1:
			body = fmt.Sprintf(`{"Count": 1, "Data": [{"COURT_NO": %s, "COURT_NO_SEQ": %s}]}`, quoted, quoted)
		case 2:
			body = `{"Count":` + text
		case 3:
			w.Header().Set("Location", "https://elsewhere.test/"+header)
			w.WriteHeader(http.StatusFound)
		case 4:
			body = "<html>" + text
		}
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(court.Close)
	return court.URL
}

// hostileProfile is a profile that calls its rules by hostile names.
func hostileProfile(t *testing.T, dir, headers string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "pkg", "site", "profiles", "fct-cf.toml"))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`name = "docket"`, `name = "seen\u001b[31mdocket\u202e\n"`, `name = "status"`, `name = "\u009b2Jstatus"`, `[headers]`, "[headers]\n"+headers).Replace(string(data))
	name := filepath.Join(dir, "profile.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestBatch_HostileRecords runs everything that prints over a court, a profile and folders that are all hostile.
func TestBatch_HostileRecords(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	dir := t.TempDir()
	settings := []string{
		"--site", hostileProfile(t, dir, ""), "--base-url", hostileCourt(t), "--output", filepath.Join(dir, "out\u202eput\u2066"),
		"--data-dir", filepath.Join(dir, "data\u2066\u202e"), "--year", "25",
	}
	stored := settings[4:8] // --output and --data-dir
	batch := []string{"--end", "40", "--probe=false", "--robots=false", "--delay-min", "0", "--delay-max", "0", "--max-retries", "1", "--backoff-base", "1ms", "--safe-stop-fails", "0"}
	ran := did(t, codeFailed, append(append([]string{"batch", "--json", "--log-format", "json", "--progress", "json"}, batch...), settings...)...)
	var report contract.Report
	if err := json.Unmarshal([]byte(ran.stdout), &report); err != nil || report.Failed != 40 {
		t.Fatalf("%v, %d failed: %s", err, report.Failed, ran.stdout)
	}
	for line := range strings.Lines(ran.stderr) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %q", line)
		}
	}
	did(t, codeFailed, append(append([]string{"batch", "--log-format", "text"}, batch...), settings...)...)
	did(t, codeCompleted, append([]string{"report", "--run", string(report.RunID)}, stored...)...)
	did(t, codeCompleted, append([]string{"config", "show"}, settings...)...)
	did(t, codeUsage, append([]string{"batch", "--config", "seen\x1b[31m\n\u202e.toml"}, settings...)...)
	did(t, codeUsage, "\u202e\x1b[31m")
	did(t, codeUsage, "--\u202e\x1b[31m\n")
	for n := 0; n < 40; n += fcttest.Scaled(8, 1) {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: n + 1}.String()
		life := did(t, codeCompleted, append([]string{"explain", id}, stored...)...)
		if !strings.Contains(life.stdout, `seen\u001b[31mdocket\u202e\n: status`) {
			t.Errorf("%s: the call is not told by its name: %q", id, life.stdout)
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "out*", "report-*"))
	if err != nil || len(pages) < 2 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil || fcttest.HasControl(string(data), true) {
			t.Errorf("%v, %q steers", err, page)
		}
	}
}

// printed is what a call wrote.
type printed struct{ stdout, stderr string }

// did runs the program in this process; it is to end with a code, and nothing that it writes may steer.
func did(t testing.TB, code int, args ...string) printed {
	t.Helper()
	return didIn(t, nil, code, args...)
}

func didIn(t testing.TB, environ []string, code int, args ...string) printed {
	t.Helper()
	var out, problems bytes.Buffer
	if got := run(t.Context(), args, environ, &out, &problems); got != code {
		t.Errorf("%q: exit code %d, want %d: %s", args, got, code, problems.String())
	}
	p := printed{out.String(), problems.String()}
	if fcttest.HasControl(p.stdout, true) || fcttest.HasControl(p.stderr, true) {
		t.Errorf("%q steers: %q and %q", args, p.stdout, p.stderr)
	}
	return p
}
