package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
)

var update = flag.Bool("update", false, "rewrite the golden bytes of the status block")

// screen is a terminal that wraps what it has written again when its width changes. It knows what the
// status block uses: CR, LF, CUU, ED and SGR.
type screen struct {
	width  int
	lines  []string // without trailing LF, of any length
	line   int
	column int // of the line
	rest   string
}

func newScreen(width int) *screen { return &screen{width: width, lines: []string{""}} }

func (s *screen) Write(data []byte) (int, error) {
	s.rest += string(data)
	for s.rest != "" {
		if strings.HasPrefix(s.rest, "\x1b") {
			end := strings.IndexAny(s.rest, "AJKm")
			if end < 0 {
				break
			}
			s.sequence(s.rest[2:end], s.rest[end])
			s.rest = s.rest[end+1:]
			continue
		}
		letter := s.rest[0]
		s.rest = s.rest[1:]
		switch letter {
		case '\r':
			s.column -= s.column % s.width
		case '\n':
			s.line, s.column = s.line+1, 0
			if s.line == len(s.lines) {
				s.lines = append(s.lines, "")
			}
		default:
			line := s.lines[s.line]
			line += strings.Repeat(" ", max(0, s.column+1-len(line)))
			s.lines[s.line] = line[:s.column] + string(letter) + line[s.column+1:]
			s.column++
		}
	}
	return len(data), nil
}

func (s *screen) sequence(parameter string, final byte) {
	switch final {
	case 'A':
		up, err := strconv.Atoi(parameter)
		if err != nil {
			panic("CUU " + parameter)
		}
		for range up {
			if s.column >= s.width { // a row up within a wrapped line
				s.column -= s.width
			} else if s.line > 0 {
				s.line--
				s.column += max(0, len(s.lines[s.line])-1) / s.width * s.width
			}
		}
	case 'J':
		s.lines = s.lines[:s.line+1]
		s.lines[s.line] = s.lines[s.line][:min(s.column, len(s.lines[s.line]))]
	}
}

func (s *screen) String() string { return strings.Join(s.lines, "\n") }

// shownEvent is an event in the middle of a run.
func shownEvent(now time.Time) contract.Event {
	left := 1100.0
	return contract.Event{RunID: "r", At: now, Status: contract.Running, Planned: 1000, Succeeded: 430, NoRecord: 15, Failed: 5,
		Retries: 3, Progress: contract.Progress{Phase: contract.PhaseFetching, InFlight: 4, RatePerMinute: 28.3, LeftSeconds: &left,
			Pause: &contract.PauseBounds{Min: 1, Max: 3}}}
}

// fixedDisplay is a display with a fixed clock and width.
func fixedDisplay(out io.Writer, style string, width *int, environ []string) (*progressDisplay, time.Time) {
	now := time.Date(2026, time.June, 1, 12, 0, 0, 0, time.Local)
	d := newProgressDisplay(out, config.Config{Progress: style}, environ)
	d.now, d.size, d.startedAt = func() time.Time { return now }, func() (int, int) { return *width, 0 }, now.Add(-12*time.Minute)
	return d, now
}

// playBlock shows a run that fetches, logs, warns, waits, searches and ends.
func playBlock(out io.Writer, width int, environ []string) {
	d, now := fixedDisplay(out, "tty", &width, environ)
	event := shownEvent(now)
	d.show(event, nil)
	_, _ = io.WriteString(d, "12:00:00 INF batch.run.wait\n")
	d.warn("site.slowed site=sim level=2 reason=status 503")
	event.Wait = &contract.Wait{Reason: contract.WaitQuietHours, Until: now.Add(2 * time.Hour)}
	event.Phase = contract.PhaseWaiting
	d.show(event, nil)
	event.Wait, event.Planned, event.Phase = nil, 0, contract.PhaseSearching
	event.LeftSeconds, event.LeftUnknown = nil, contract.LeftUnknownSearching
	d.show(event, nil)
	d.close()
}

func TestBlock_Golden(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		width   int
		environ []string
	}{"40": {40, nil}, "80": {80, nil}, "132": {132, nil}, "unknown": {0, nil}, "nocolor": {80, []string{"NO_COLOR=1"}}} {
		var out bytes.Buffer
		playBlock(&out, c.width, c.environ)
		file := filepath.Join("testdata", "block", name+".golden")
		if *update {
			if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: %q, want %q, %v", name, out.Bytes(), want, err)
		}
	}
}

func TestBlock_LinesFit(t *testing.T) {
	t.Parallel()
	for width := 1; width <= 140; width++ {
		d, now := fixedDisplay(io.Discard, "tty", &width, nil)
		event := shownEvent(now)
		event.Wait = &contract.Wait{Reason: "\x1b[2J\n裁判所 is in trouble", Until: now.Add(time.Minute)}
		d.warn("a warning")
		lines := d.runBlockLocked(event).lines(width)
		if len(lines) > 3 {
			t.Errorf("%d columns: %d lines", width, len(lines))
		}
		for _, line := range lines {
			if textColumns(line) >= width || strings.ContainsAny(line, "\n\r") || strings.Contains(line, "\x1b[2J") {
				t.Errorf("%d columns: %q takes %d", width, line, textColumns(line))
			}
		}
		if shown := strings.Join(lines, " "); width >= 40 && (!strings.Contains(shown, "450/1000") || !strings.Contains(shown, "waits until 12:01:00") ||
			!strings.Contains(shown, "ETA")) {
			t.Errorf("%d columns: %q", width, lines)
		}
	}
}

// A terminal of one or two rows has a block of as many lines: nothing of it scrolls out.
func TestBlock_FewRows(t *testing.T) {
	t.Parallel()
	for rows := 1; rows <= 2; rows++ {
		term := newScreen(80)
		d, now := fixedDisplay(term, "tty", &term.width, nil)
		d.size = func() (int, int) { return 80, rows }
		event := shownEvent(now)
		event.Wait = &contract.Wait{Reason: "a rest", Until: now.Add(time.Minute)}
		for range 5 {
			d.show(event, nil)
		}
		if lines := strings.Split(term.String(), "\n"); len(lines) != rows || !strings.Contains(lines[0], "450/1000") {
			t.Errorf("%d rows: %q", rows, lines)
		}
		if d.close(); term.String() != "" {
			t.Errorf("%d rows: %q stays", rows, term.String())
		}
	}
}

func TestPauseText(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]contract.PauseBounds{
		"0ms": {}, "150ms": {Min: 0.15, Max: 0.15}, "20-50ms": {Min: 0.02, Max: 0.05}, "0.3-1s": {Min: 0.3, Max: 1}, "1-3s": {Min: 1, Max: 3},
		"1.5s": {Min: 1.5, Max: 1.5}, "2m": {Min: 120, Max: 120}, "90-120s": {Min: 90, Max: 120},
	} {
		if got := pauseText(p); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
}

// Sixty numbers at 50 columns, with log lines between and a terminal that gets narrower and wider: the log
// lines stay, and of the block nothing.
func TestBlock_NoStaleLine(t *testing.T) {
	t.Parallel()
	term := newScreen(50)
	d, now := fixedDisplay(term, "tty", &term.width, nil)
	event := shownEvent(now)
	event.Planned, event.NoRecord, event.Failed = 60, 0, 0
	var logged []string
	for n := range 61 {
		event.Succeeded = n
		if event.Wait = nil; n%7 == 0 {
			event.Wait = &contract.Wait{Reason: "a rest", Until: now.Add(time.Minute)}
		}
		switch n {
		case 20:
			term.width = 26 // with the block on the screen
		case 30:
			term.width = 132
		case 40:
			term.width = 50
		}
		d.show(event, nil)
		if n%5 == 0 {
			logged = append(logged, fmt.Sprintf("log line %d %s", n, strings.Repeat("x", n)))
			_, _ = io.WriteString(d, logged[len(logged)-1]+"\n")
		}
		shown := term.String()
		if strings.Count(shown, "/60") != 1 || !strings.HasPrefix(shown, strings.Join(logged, "\n")) {
			t.Fatalf("after %d:\n%s", n, shown)
		}
	}
	d.close()
	if got, want := term.String(), strings.Join(logged, "\n")+"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestProgress_Style(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		style, want string
		terminal    bool
		environ     []string
		color       bool
	}{
		{"auto", "plain", false, nil, true},
		{"auto", "tty", true, nil, true},
		{"auto", "tty", true, []string{"NO_COLOR=1", "TERM=xterm"}, false},
		{"auto", "plain", true, []string{"TERM=dumb"}, true},
		{"none", "none", true, nil, true},
	} {
		d := newDisplay(io.Discard, c.terminal, config.Config{Progress: c.style}, c.environ)
		if d.style != c.want || d.color != c.color {
			t.Errorf("%+v: %s, color %t", c, d.style, d.color)
		}
	}
}

// The plain form logs once a minute, or for each tenth.
func TestPlain_MinuteOrTenth(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		every time.Duration
		want  int
	}{"fast": {time.Second, 11}, "slow": {30 * time.Second, 31}} {
		var out bytes.Buffer
		width := 0
		d, now := fixedDisplay(io.Discard, "plain", &width, nil)
		d.now = func() time.Time { return now }
		log := slog.New(slog.NewTextHandler(&out, nil))
		event := shownEvent(now)
		event.Planned, event.NoRecord, event.Failed = 60, 0, 0
		for n := range 61 {
			event.Succeeded = n
			d.show(event, log)
			now = now.Add(c.every)
		}
		if got := strings.Count(out.String(), "batch.run.progress"); got != c.want || strings.Contains(out.String(), "\x1b") {
			t.Errorf("%s: %d lines, want %d: %s", name, got, c.want, out.String())
		}
	}
}

func TestTruncate_Columns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, want string
		width      int
	}{
		{"12/30 é", "12/30 ", 7}, {"12/30 é", "12/30 é", 8}, {"12", "", 1}, {"裁判", "裁", 4}, {"裁判", "裁判", 5},
		{"e\u0301x", "e\u0301", 2}, {"\x1b[32mS 12\x1b[0m", "\x1b[32mS \x1b[0m", 3},
	} {
		if got := truncate(c.text, c.width); got != c.want {
			t.Errorf("%q at %d columns: %q, want %q", c.text, c.width, got, c.want)
		}
	}
}
