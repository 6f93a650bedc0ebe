package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"

	"github.com/nats-io/nats.go"
	"golang.org/x/term"
)

// plainEvery is how often progress is told where it stays on the page.
const plainEvery = 30 * time.Second

// screen is stderr: log lines, and below them, on a terminal, one line that says how far the run is. It is used by many
// goroutines.
type screen struct {
	out      io.Writer
	terminal bool
	// style is tty, plain, json or none.
	style string

	mu     sync.Mutex
	last   contract.Event
	status string
	told   time.Time
	begun  time.Time
}

func newScreen(out io.Writer, c config.Config, environ []string) *screen {
	s := &screen{out: out, terminal: isTerminal(out), style: c.Progress, begun: time.Now()}
	if s.style == "auto" {
		s.style = "plain"
		if s.terminal && !plainWanted(environ) {
			s.style = "tty"
		}
	}
	return s
}

// Write puts log lines above the line of progress.
func (s *screen) Write(lines []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == "" {
		return s.out.Write(lines)
	}
	s.erase()
	n, err := s.out.Write(lines)
	_, _ = io.WriteString(s.out, s.status) // decoration: the next one is drawn anyway
	return n, err
}

// erase takes the line of progress away: to the first column, then clear to the end of the line (ECMA-48, EL).
func (s *screen) erase() { _, _ = io.WriteString(s.out, "\r\x1b[K") }

// close leaves no line of progress behind.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != "" {
		s.erase()
		s.status = ""
	}
}

// follow tells the progress of a run until stop is called.
func (s *screen) follow(nc *nats.Conn, run contract.RunID, log *slog.Logger) (stop func(), err error) {
	news, err := nc.Subscribe(run.EventSubject("*"), func(msg *nats.Msg) {
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) != nil { // what is not an event is no progress
			return
		}
		if event.Wait != nil || msg.Subject == run.EventSubject("progress") {
			s.tell(event, log)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("following the progress of %s: %w", run, err)
	}
	return func() { _ = news.Unsubscribe() }, nil
}

// newest is the newest progress that was heard of.
func (s *screen) newest() contract.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *screen) tell(event contract.Event, log *slog.Logger) {
	s.mu.Lock()
	s.last = event
	s.mu.Unlock()
	switch s.style {
	case "json":
		if line, err := json.Marshal(event); err == nil {
			_, _ = s.Write(append([]byte(sanitize.Mask(string(sanitize.JSON(line)))), '\n'))
		}
	case "tty":
		line := progressLine(event, time.Since(s.begun))
		if event.Wait != nil {
			line += "  " + sanitize.Line(event.Wait.String())
		}
		s.draw(line)
	case "plain":
		if s.due() {
			log.Info("batch.run.progress", "run_id", event.RunID, "planned", event.Planned, "succeeded", event.Succeeded,
				"no_record", event.NoRecord, "failed", event.Failed, "retries", event.Retries)
		}
	}
}

func (s *screen) due() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.told) < plainEvery {
		return false
	}
	s.told = time.Now()
	return true
}

func (s *screen) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erase()
	s.status = cut(line, columns(s.out))
	_, _ = io.WriteString(s.out, s.status)
}

// columns is how wide a terminal is; 0 when that is unknown.
func columns(out io.Writer) int {
	file, isFile := out.(*os.File)
	if !isFile {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// cut is as much of a line as a terminal of that width shows without breaking it: a broken line could not be drawn over.
func cut(line string, width int) string {
	if letters := []rune(line); width > 0 && len(letters) >= width {
		return string(letters[:width-1])
	}
	return line
}

// progressLine says how far a run is that has taken so long; the rest of the time is known once all is planned.
func progressLine(e contract.Event, took time.Duration) string {
	done := e.Succeeded + e.NoRecord + e.Failed
	all := e.Planned
	if all == 0 {
		all = e.Range.Size()
	}
	line := fmt.Sprintf("%d/%d  success %d  no-record %d  failed %d  retries %d", done, all, e.Succeeded, e.NoRecord, e.Failed, e.Retries)
	if done == 0 || all <= done {
		return line
	}
	left := time.Duration(float64(took) / float64(done) * float64(all-done))
	return line + "  " + left.Round(time.Second).String() + " left"
}
