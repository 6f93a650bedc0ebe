package main

import (
	"context"
	"encoding"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/sanitize"

	"github.com/lmittmann/tint"
	"github.com/nats-io/nats.go"
	"golang.org/x/term"
)

// logger writes into out by the settings: coloured text on a terminal, JSON otherwise, unless
// log_format says it.
func logger(c config.Config, environ []string, terminal bool, out io.Writer) *slog.Logger {
	var level slog.Level
	// The settings allow nothing that UnmarshalText does not know.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	if c.LogFormat == "json" || c.LogFormat == "auto" && !terminal {
		return slog.New(slog.NewJSONHandler(logLines{out, sanitize.JSON}, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(logLines{out, nil}, &tint.Options{
		Level: level, NoColor: !terminal || plainWanted(environ), ReplaceAttr: tame,
	}))
}

// caseEventsAtDebug logs what happens to each case at DEBUG: where a line of progress counts the cases, a line for each would only
// push the others off the screen.
type caseEventsAtDebug struct{ slog.Handler }

// Handle is that of the handler inside, for events of cases only where DEBUG is wanted.
func (h caseEventsAtDebug) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "batch.job.start" || r.Message == "batch.job.end" {
		if !h.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r.Level = slog.LevelDebug
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps the rule for the logger that it makes.
func (h caseEventsAtDebug) WithAttrs(attrs []slog.Attr) slog.Handler {
	return caseEventsAtDebug{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the rule for the logger that it makes.
func (h caseEventsAtDebug) WithGroup(name string) slog.Handler {
	return caseEventsAtDebug{h.Handler.WithGroup(name)}
}

// logLines is where log lines go, whole ones, without secrets and, as far as tamed does it, without
// what steers.
type logLines struct {
	out   io.Writer
	tamed func([]byte) []byte
}

// Write writes lines; it says that it took what it was given, not what became of that.
func (l logLines) Write(lines []byte) (int, error) {
	shown := lines
	if l.tamed != nil {
		shown = l.tamed(lines)
	}
	if _, err := io.WriteString(l.out, sanitize.Mask(withCause(string(shown)))); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// tame makes an attribute harmless that holds text which would steer a terminal. The handler for
// people lets an escape character through where it colours, and makes one of the four characters
// \x1b; bytes alone it always quotes.
func tame(_ []string, attr slog.Attr) slog.Attr {
	text := ""
	switch value := attr.Value.Resolve(); value.Kind() {
	case slog.KindString:
		text = value.String()
	case slog.KindAny:
		text = textOf(value.Any())
	default:
		return attr
	}
	if sanitize.Line(text) == text && !strings.Contains(text, `\x1b`) {
		return attr
	}
	return slog.Any(attr.Key, []byte(text))
}

// textOf is a value as the handler for people writes it; its own level it colours, and there is
// nothing in it to tame.
func textOf(value any) string {
	switch v := value.(type) {
	case slog.Level:
		return ""
	case encoding.TextMarshaler:
		if text, err := v.MarshalText(); err == nil {
			return string(text)
		}
	}
	return fmt.Sprintf("%+v", value)
}

// libraryLog is what libraries that log by package log write into, such as net/http of bytes that a
// site sends unasked: each line is an event. Without a logger yet it is lost.
type libraryLog struct{ events atomic.Pointer[slog.Logger] }

// Write takes one line, and never fails.
func (l *libraryLog) Write(line []byte) (int, error) {
	if events := l.events.Load(); events != nil {
		events.Warn("library.log", "text", sanitize.Truncate(strings.TrimSpace(string(line)), 500))
	}
	return len(line), nil
}

// takeLibraryLog makes what libraries write events of a logger, where the process has told them to
// write into a libraryLog.
func takeLibraryLog(events *slog.Logger) {
	if library, is := log.Writer().(*libraryLog); is {
		library.events.Store(events)
	}
}

// withCause is a log line or an error with the plain cause in the place of what the NATS library
// says while there is no server.
func withCause(text string) string {
	return strings.ReplaceAll(text, nats.ErrReconnectBufExceeded.Error(), "no connection to the NATS server")
}

// plainWanted follows no-color.org and the dumb terminal.
func plainWanted(environ []string) bool {
	return lookup(environ, "NO_COLOR") != "" || lookup(environ, "TERM") == "dumb"
}

// lookup is the value of a variable, the last one when it is there twice; empty when it is not
// there.
func lookup(environ []string, name string) string {
	value := ""
	for _, line := range environ {
		if rest, found := strings.CutPrefix(line, name+"="); found {
			value = rest
		}
	}
	return value
}

func isTerminal(out io.Writer) bool {
	file, isFile := out.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}
