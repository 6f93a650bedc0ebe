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

// newLogger writes into out by the settings: coloured text on a terminal, JSON otherwise, unless
// log_format says it.
func newLogger(c config.Config, environ []string, terminal bool, out io.Writer) *slog.Logger {
	var level slog.Level
	// The settings allow nothing that UnmarshalText does not know.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	if c.LogFormat == "json" || c.LogFormat == "auto" && !terminal {
		return slog.New(slog.NewJSONHandler(logWriter{out, sanitize.JSON}, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(logWriter{out, nil}, &tint.Options{
		Level: level, NoColor: !terminal || colorUnwanted(environ), ReplaceAttr: quoteUnsafe,
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

// logWriter is where log lines go, whole ones, without secrets and, as far as tamed does it, without
// what steers.
type logWriter struct {
	out    io.Writer
	escape func([]byte) []byte
}

// Write writes lines; it says that it took what it was given, not what became of that.
func (w logWriter) Write(lines []byte) (int, error) {
	shown := lines
	if w.escape != nil {
		shown = w.escape(lines)
	}
	if _, err := io.WriteString(w.out, sanitize.Mask(replaceBufferError(string(shown)))); err != nil {
		return 0, err
	}
	return len(lines), nil
}

// quoteUnsafe makes an attribute harmless that holds text which would steer a terminal. The handler for
// people lets an escape character through where it colours, and makes one of the four characters
// \x1b; bytes alone it always quotes.
func quoteUnsafe(_ []string, attr slog.Attr) slog.Attr {
	text := ""
	switch value := attr.Value.Resolve(); value.Kind() {
	case slog.KindString:
		text = value.String()
	case slog.KindAny:
		text = attrText(value.Any())
	default:
		return attr
	}
	if sanitize.Line(text) == text && !strings.Contains(text, `\x1b`) {
		return attr
	}
	return slog.Any(attr.Key, []byte(text))
}

// attrText is a value as the handler for people writes it; its own level it colours, and there is
// nothing in it to tame.
func attrText(value any) string {
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

// redirectLibraryLog makes what libraries write events of a logger, where the process has told them to
// write into a libraryLog.
func redirectLibraryLog(events *slog.Logger) {
	if library, is := log.Writer().(*libraryLog); is {
		library.events.Store(events)
	}
}

// replaceBufferError is a log line or an error with the plain cause in the place of what the NATS library
// says while there is no server.
func replaceBufferError(text string) string {
	return strings.ReplaceAll(text, nats.ErrReconnectBufExceeded.Error(), "no connection to the NATS server")
}

// colorUnwanted follows no-color.org and the dumb terminal.
func colorUnwanted(environ []string) bool {
	return lookupEnv(environ, "NO_COLOR") != "" || lookupEnv(environ, "TERM") == "dumb"
}

// lookupEnv is the value of a variable, the last one when it is there twice; empty when it is not
// there.
func lookupEnv(environ []string, name string) string {
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
