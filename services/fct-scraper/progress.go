package main

import (
	"cmp"
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

// plainInterval is how often progress is logged if it cannot be redrawn in place.
const plainInterval = 30 * time.Second

// progressDisplay writes to stderr: log lines and, on a terminal, a progress line below them. It is
// safe for concurrent use.
type progressDisplay struct {
	out      io.Writer
	terminal bool
	// style is tty, plain, json or none.
	style string

	mu         sync.Mutex
	lastEvent  contract.Event
	status     string
	lastLogged time.Time
	startedAt  time.Time
}

func newProgressDisplay(out io.Writer, c config.Config, environ []string) *progressDisplay {
	s := &progressDisplay{out: out, terminal: isTerminal(out), style: c.Progress, startedAt: time.Now()}
	if s.style == "auto" {
		s.style = "plain"
		if s.terminal && !colorUnwanted(environ) {
			s.style = "tty"
		}
	}
	return s
}

// Write writes log lines above the progress line.
func (d *progressDisplay) Write(lines []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.status == "" {
		return d.out.Write(lines)
	}
	d.erase()
	n, err := d.out.Write(lines)
	_, _ = io.WriteString(d.out, d.status) // the next progress redraws it
	return n, err
}

// erase removes the progress line: it moves to the first column and clears to the end of the line
// (ECMA-48, EL).
func (d *progressDisplay) erase() { _, _ = io.WriteString(d.out, "\r\x1b[K") }

func (d *progressDisplay) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.status != "" {
		d.erase()
		d.status = ""
	}
}

// follow shows the progress of a run until stop is called.
func (d *progressDisplay) follow(nc *nats.Conn, run contract.RunID, log *slog.Logger) (stop func(), err error) {
	news, err := nc.Subscribe(run.EventSubject("*"), func(msg *nats.Msg) {
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) != nil { // anything else is ignored
			return
		}
		if event.Wait != nil || msg.Subject == run.EventSubject("progress") {
			d.show(event, log)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("following the progress of %s: %w", run, err)
	}
	return func() { _ = news.Unsubscribe() }, nil
}

func (d *progressDisplay) latest() contract.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lastEvent
}

func (d *progressDisplay) show(event contract.Event, log *slog.Logger) {
	d.mu.Lock()
	d.lastEvent = event
	d.mu.Unlock()
	switch d.style {
	case "json":
		if line, err := json.Marshal(event); err == nil {
			_, _ = d.Write(append([]byte(sanitize.Mask(string(sanitize.JSON(line)))), '\n'))
		}
	case "tty":
		line := progressLine(event)
		if event.Wait != nil {
			line += "  " + sanitize.Line(event.Wait.String())
		}
		d.draw(line)
	case "plain":
		if d.due() {
			log.Info("batch.run.progress", "run_id", event.RunID, "planned", event.Planned, "succeeded", event.Succeeded,
				"no_record", event.NoRecord, "failed", event.Failed, "retries", event.Retries)
		}
	}
}

func (d *progressDisplay) due() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.lastLogged) < plainInterval {
		return false
	}
	d.lastLogged = time.Now()
	return true
}

func (d *progressDisplay) draw(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.erase()
	d.status = truncate(line, terminalWidth(d.out))
	_, _ = io.WriteString(d.out, d.status)
}

// terminalWidth returns the width of a terminal in columns; 0 if unknown.
func terminalWidth(out io.Writer) int {
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

// truncate shortens a line to less than width: a wrapped line could not be redrawn. A width of 0 is
// unlimited.
func truncate(line string, width int) string {
	if letters := []rune(line); width > 0 && len(letters) >= width {
		return string(letters[:width-1])
	}
	return line
}

// progressLine formats the progress of a run.
func progressLine(e contract.Event) string {
	done := e.Succeeded + e.NoRecord + e.Failed
	all := cmp.Or(e.Planned, e.Listed, e.Range.Size())
	line := fmt.Sprintf("%d/%d  success %d  no-record %d  failed %d  retries %d", done, all, e.Succeeded,
		e.NoRecord, e.Failed, e.Retries)
	switch {
	case e.LeftSeconds != nil:
		line += "  " + roughly(*e.LeftSeconds) + " left"
	case e.LeftUnknown != "":
		line += "  time left unknown: " + e.LeftUnknown
	}
	return line
}

// showWork shows how many numbers were "exported" or "analyzed"; all is 0 if it is not known.
func (d *progressDisplay) showWork(word string, done, all int, log *slog.Logger) {
	switch d.style {
	case "json":
		_, _ = fmt.Fprintf(d, `{"%s":%d,"numbers":%d}`+"\n", word, done, all)
	case "tty":
		d.draw(fmt.Sprintf("%d/%d %s", done, max(done, all), word))
	case "plain":
		switch {
		case !d.due():
		case word == "exported":
			log.Info("export.progress", word, done, "numbers", all)
		default:
			log.Info("analyze.progress", word, done, "numbers", all)
		}
	}
}
