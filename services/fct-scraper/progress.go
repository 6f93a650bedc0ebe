package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"

	"github.com/nats-io/nats.go"
	"golang.org/x/term"
	"golang.org/x/text/width"
)

// plainInterval is how often progress is logged if it cannot be redrawn in place, unless a tenth of
// the run is done before.
const plainInterval = time.Minute

// progressDisplay writes to stderr: log lines and, on a terminal, a status block below them. It is
// safe for concurrent use.
type progressDisplay struct {
	out      io.Writer
	terminal bool
	// color: the block may have colors.
	color bool
	// style is tty, plain, json or none.
	style string
	// now is the clock, size the width and height of the terminal; 0 is unknown.
	now  func() time.Time
	size func() (columns, rows int)

	mu         sync.Mutex
	lastEvent  contract.Event
	lastLogged time.Time
	// lastTenth is how many tenths of the run were done when progress was logged last.
	lastTenth int
	startedAt time.Time
	// lastWarning is the last log event at WARN or above, as one line.
	lastWarning string
	// layout returns the lines of the block for a width; nil while there is no block.
	layout func(width int) []string
	// drawn are the widths of the lines on the screen, the cursor behind the last one.
	drawn []int
}

func newProgressDisplay(out io.Writer, c config.Config, environ []string) *progressDisplay {
	return newDisplay(out, isTerminal(out), c, environ)
}

func newDisplay(out io.Writer, terminal bool, c config.Config, environ []string) *progressDisplay {
	d := &progressDisplay{out: out, terminal: terminal, color: lookupEnv(environ, "NO_COLOR") == "", style: c.Progress,
		now: time.Now, size: func() (int, int) { return terminalSize(out) }, startedAt: time.Now()}
	if d.style == "auto" {
		d.style = "plain"
		if d.terminal && lookupEnv(environ, "TERM") != "dumb" {
			d.style = "tty"
		}
	}
	return d
}

// Write writes log lines above the block.
func (d *progressDisplay) Write(lines []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.layout == nil {
		return d.out.Write(lines)
	}
	return len(lines), d.redrawLocked(lines)
}

// redrawLocked writes lines in place of the block and the block below them, in one write.
func (d *progressDisplay) redrawLocked(lines []byte) error {
	width, rows := d.size()
	text := append(eraseBlock(d.drawn, width), lines...)
	d.drawn = nil
	if d.layout != nil {
		block := d.layout(width)
		if rows > 0 { // what scrolls out of the terminal cannot be erased
			block = block[:min(len(block), rows)]
		}
		for _, line := range block {
			d.drawn = append(d.drawn, textColumns(line))
		}
		text = append(text, strings.Join(block, "\r\n")...)
	}
	_, err := d.out.Write(text)
	return err
}

// eraseBlock returns what erases lines of these widths: it moves to the first column of the first one
// and clears to the end of the screen (ECMA-48, CUU and ED). A line that is longer than the terminal is
// wide now has been wrapped by the terminal.
func eraseBlock(drawn []int, width int) []byte {
	if len(drawn) == 0 {
		return nil
	}
	rows := 0
	for _, columns := range drawn {
		rows++
		if width > 0 {
			rows += max(0, columns-1) / width
		}
	}
	text := []byte("\r")
	if rows > 1 {
		text = fmt.Appendf(text, "\x1b[%dA", rows-1)
	}
	return append(text, "\x1b[J"...)
}

// draw shows a block of these lines from now on.
func (d *progressDisplay) draw(layout func(width int) []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.layout = layout
	_ = d.redrawLocked(nil) // a terminal that is gone shows nothing
}

// close removes the block.
func (d *progressDisplay) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.layout != nil {
		d.layout = nil
		_ = d.redrawLocked(nil)
	}
}

// warn keeps the last warning for the block.
func (d *progressDisplay) warn(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastWarning = text
}

// followTerminal draws the block again each second, when the size of the terminal changes, and after
// the process was stopped by Ctrl-Z, before which it removes the block, until stop is called.
func (d *progressDisplay) followTerminal() (stop func()) {
	received := make(chan os.Signal, 8) // a signal that finds it full is lost
	notifyTerminal(received)
	done := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			var came os.Signal
			select {
			case <-done:
				return
			case <-tick.C:
			case came = <-received:
			}
			d.mu.Lock()
			if came != nil && isStop(came) {
				width, _ := d.size()
				_, _ = d.out.Write(eraseBlock(d.drawn, width))
				d.drawn = nil
				stopSelf()
			}
			if d.layout != nil {
				_ = d.redrawLocked(nil)
			}
			d.mu.Unlock()
		}
	})
	return func() {
		signal.Stop(received)
		close(done)
		following.Wait()
	}
}

// follow shows the progress of a run until stop is called.
func (d *progressDisplay) follow(nc *nats.Conn, run contract.RunID, log *slog.Logger) (stop func(), err error) {
	news, err := nc.Subscribe(run.EventSubject("*"), func(msg *nats.Msg) {
		var event contract.Event
		if json.Unmarshal(msg.Data, &event) != nil { // anything else is ignored
			return
		}
		if event.Report == nil && event.Phase != "" {
			d.show(event, log)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("following the progress of %s: %w", run, err)
	}
	stopTerminal := func() {}
	if d.style == "tty" {
		stopTerminal = d.followTerminal()
	}
	return func() {
		_ = news.Unsubscribe()
		stopTerminal()
	}, nil
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
		d.draw(func(width int) []string { return d.runBlockLocked(event).lines(width) })
	case "plain":
		done := event.Succeeded + event.NoRecord + event.Failed
		if !d.due(done, event.Planned) {
			return
		}
		name, left := "left_unknown", any(event.LeftUnknown)
		if event.LeftSeconds != nil {
			name, left = "left_seconds", *event.LeftSeconds
		}
		log.Info("batch.run.progress", "run_id", event.RunID, "phase", event.Phase, "planned", event.Planned, "succeeded",
			event.Succeeded, "no_record", event.NoRecord, "failed", event.Failed, "retries", event.Retries, "in_flight",
			event.InFlight, "rate_per_minute", event.RatePerMinute, name, left)
	}
}

// due reports whether progress is to be logged again: after plainInterval, or when a further tenth is
// done. all is 0 if it is not known.
func (d *progressDisplay) due(done, all int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	tenth := 0
	if all > 0 {
		tenth = 10 * done / all
	}
	if now := d.now(); now.Sub(d.lastLogged) >= plainInterval || tenth > d.lastTenth {
		d.lastLogged, d.lastTenth = now, tenth
		return true
	}
	return false
}

// terminalSize returns the width and height of a terminal; 0 if unknown.
func terminalSize(out io.Writer) (columns, rows int) {
	file, isFile := out.(*os.File)
	if !isFile {
		return 0, 0
	}
	columns, rows, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// block is what the status block shows: fields that flow into lines, and a message in a line of its own.
type block struct {
	fields  []string
	message string
}

const (
	blockLines = 3
	// unknownWidth is the width of a terminal that does not tell its own.
	unknownWidth = 80
)

// lines lays the block out for a width. No line fills its row: some terminals wrap then. What does not
// fit into blockLines is left out.
func (b block) lines(width int) []string {
	if width <= 0 {
		width = unknownWidth
	}
	most := blockLines
	if b.message != "" {
		most--
	}
	var lines []string
	for _, field := range b.fields {
		field = truncate(field, width)
		if last := len(lines) - 1; last >= 0 && textColumns(lines[last])+2+textColumns(field) < width {
			lines[last] += "  " + field
		} else if len(lines) < most {
			lines = append(lines, field)
		}
	}
	if b.message != "" {
		lines = append(lines, truncate(b.message, width))
	}
	return lines
}

// runBlockLocked returns the block of a run after an event. The caller holds mu.
func (d *progressDisplay) runBlockLocked(e contract.Event) block {
	now := d.now()
	p := e.ProgressAt(now)
	done := e.Succeeded + e.NoRecord + e.Failed
	var b block
	if e.Planned > 0 {
		share := min(1, float64(done)/float64(e.Planned))
		b.fields = append(b.fields, fmt.Sprintf("%s %3.0f%%  %d/%d", bar(share), math.Floor(100*share), done, e.Planned))
	} else {
		b.fields = append(b.fields, fmt.Sprintf("%s  %d done", p.Phase, done))
	}
	switch {
	case p.LeftSeconds != nil:
		left := time.Duration(*p.LeftSeconds * float64(time.Second))
		b.fields = append(b.fields, "ETA "+roughly(*p.LeftSeconds)+" ("+clockTime(now.Add(left), now)+")")
	case p.LeftUnknown == string(p.Phase): // it is shown already
		b.fields = append(b.fields, "ETA unknown")
	default:
		b.fields = append(b.fields, "ETA unknown: "+sanitize.Line(p.LeftUnknown))
	}
	const green, yellow, red = "32", "33", "31"
	b.fields = append(b.fields, d.colored(green, "S %d", e.Succeeded)+"  "+d.colored(yellow, "N %d", e.NoRecord)+"  "+
		d.colored(red, "F %d", e.Failed), fmt.Sprintf("in flight %d", p.InFlight))
	if p.Pause != nil {
		b.fields = append(b.fields, "pause "+pauseText(*p.Pause))
	}
	b.fields = append(b.fields, fmt.Sprintf("%.1f/min", p.RatePerMinute), "elapsed "+roughly(now.Sub(d.startedAt).Seconds()),
		fmt.Sprintf("retries %d", e.Retries))
	var message []string
	if e.Wait != nil {
		text := "waits: " + sanitize.Line(e.Wait.Reason)
		if !e.Wait.Until.IsZero() {
			text = "waits until " + clockTime(e.Wait.Until, now) + ": " + sanitize.Line(e.Wait.Reason)
		}
		message = append(message, text)
	}
	if d.lastWarning != "" {
		message = append(message, "warning: "+d.lastWarning)
	}
	b.message = strings.Join(message, "  ")
	return b
}

// pauseText formats a pause with tenths of seconds, one below a second with milliseconds.
func pauseText(p contract.PauseBounds) string {
	scale, unit := 10.0, "s"
	if p.Max < 1 {
		scale, unit = 1000, "ms"
	}
	least, most := math.Round(scale*p.Min), math.Round(scale*p.Max)
	if unit == "s" {
		least, most = least/scale, most/scale
	}
	switch {
	case least != most:
		return fmt.Sprintf("%g-%g%s", least, most, unit)
	case unit == "s" && most >= 60:
		return roughly(most)
	default:
		return fmt.Sprintf("%g%s", most, unit)
	}
}

// bar draws a share from 0 to 1.
func bar(share float64) string {
	const cells = 10
	full := int(share * cells)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
}

// clockTime formats a time for people by the wall clock, with the day unless it is within half a day.
func clockTime(t, now time.Time) string {
	if t.Sub(now).Abs() < 12*time.Hour {
		return t.Local().Format("15:04:05")
	}
	return t.Local().Format("2006-01-02 15:04")
}

// colored formats a field in a color (ECMA-48, SGR), if colors are allowed.
func (d *progressDisplay) colored(color, format string, args ...any) string {
	text := fmt.Sprintf(format, args...)
	if !d.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// textColumns returns how many columns a line takes: escape sequences and combining characters take none,
// wide characters two.
func textColumns(line string) (columns int) {
	for rest := line; rest != ""; {
		_, size, wide := nextColumns(rest)
		rest, columns = rest[size:], columns+wide
	}
	return columns
}

// truncate shortens a line to less than width columns. A line that is shortened ends without colors.
func truncate(line string, most int) string {
	if textColumns(line) < most {
		return line
	}
	var short strings.Builder
	colored := false
	for rest, columns := line, 0; rest != ""; {
		text, size, wide := nextColumns(rest)
		if columns += wide; columns >= most {
			break
		}
		colored = colored || strings.HasPrefix(text, "\x1b")
		short.WriteString(text)
		rest = rest[size:]
	}
	if colored {
		short.WriteString("\x1b[0m")
	}
	return short.String()
}

// nextColumns returns the first character or color of a line, its length in bytes, and the columns that it
// takes.
func nextColumns(line string) (text string, size, columns int) {
	if end := strings.IndexByte(line, 'm'); end > 0 && strings.HasPrefix(line, "\x1b[") {
		return line[:end+1], end + 1, 0
	}
	letter, size := utf8.DecodeRuneInString(line)
	switch kind := width.LookupRune(letter).Kind(); {
	case unicode.In(letter, unicode.Mn, unicode.Me, unicode.Cf):
	case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
		columns = 2
	default:
		columns = 1
	}
	return line[:size], size, columns
}

// showWork shows how many numbers were "exported" or "analyzed"; all is 0 if it is not known.
func (d *progressDisplay) showWork(word string, done, all int, log *slog.Logger) {
	switch d.style {
	case "json":
		_, _ = fmt.Fprintf(d, `{"%s":%d,"numbers":%d}`+"\n", word, done, all)
	case "tty":
		d.draw(block{fields: []string{fmt.Sprintf("%d/%d %s", done, max(done, all), word)}}.lines)
	case "plain":
		switch {
		case !d.due(done, all):
		case word == "exported":
			log.Info("export.progress", word, done, "numbers", all)
		default:
			log.Info("analyze.progress", word, done, "numbers", all)
		}
	}
}
