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

// newLogger returns a logger that writes to out: colored text on a terminal, else JSON, unless
// log_format decides.
func newLogger(c config.Config, environ []string, terminal bool, out io.Writer) *slog.Logger {
	var level slog.Level
	// The settings allow only levels that UnmarshalText accepts.
	_ = level.UnmarshalText([]byte(c.LogLevel))
	if c.LogFormat == "json" || c.LogFormat == "auto" && !terminal {
		return slog.New(slog.NewJSONHandler(logWriter{out, sanitize.JSON}, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(logWriter{out, nil}, &tint.Options{
		Level: level, NoColor: !terminal || colorUnwanted(environ), ReplaceAttr: quoteUnsafe,
	}))
}

// blockHandler logs beside a status block: the events of single cases at DEBUG, because the block counts
// the cases and those events would only scroll other lines away. Warnings are also passed to warn.
type blockHandler struct {
	slog.Handler
	warn func(text string)
}

// Handle passes the record to the inner handler, events of cases only if DEBUG is enabled.
func (h blockHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		text := r.Message
		r.Attrs(func(a slog.Attr) bool {
			text += " " + a.Key + "=" + a.Value.String()
			return true
		})
		h.warn(sanitize.Mask(sanitize.Truncate(text, 200)))
	}
	if r.Message == "batch.job.start" || r.Message == "batch.job.end" {
		if !h.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r.Level = slog.LevelDebug
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs returns a handler with the same rule.
func (h blockHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return blockHandler{h.Handler.WithAttrs(attrs), h.warn}
}

// WithGroup returns a handler with the same rule.
func (h blockHandler) WithGroup(name string) slog.Handler {
	return blockHandler{h.Handler.WithGroup(name), h.warn}
}

// logWriter writes log lines to out, with secrets masked. If escape is set, it also escapes control
// characters.
type logWriter struct {
	out    io.Writer
	escape func([]byte) []byte
}

// Write writes log lines. It returns the length of its input, not of its output.
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

// quoteUnsafe turns an attribute with control characters into bytes, which tint always quotes. tint
// would write an escape character as it is where it colors a value, and would turn the four
// characters \x1b into one.
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

// attrText returns a value as tint writes it, or "" for its own level, which is safe and gets a
// color.
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

// libraryLog receives the lines that libraries write with package log, such as those of net/http
// about unexpected bytes of a site. It logs each line as an event, and drops it before a logger is
// set.
type libraryLog struct{ events atomic.Pointer[slog.Logger] }

// Write logs one line. It never fails.
func (l *libraryLog) Write(line []byte) (int, error) {
	if events := l.events.Load(); events != nil {
		events.Warn("library.log", "text", sanitize.Truncate(strings.TrimSpace(string(line)), 500))
	}
	return len(line), nil
}

// redirectLibraryLog makes a logger log what libraries write with package log, if the process has
// set a libraryLog as its output.
func redirectLibraryLog(events *slog.Logger) {
	if library, is := log.Writer().(*libraryLog); is {
		library.events.Store(events)
	}
}

// replaceBufferError replaces the error that the NATS library returns while disconnected by its
// plain cause.
func replaceBufferError(text string) string {
	return strings.ReplaceAll(text, nats.ErrReconnectBufExceeded.Error(), "no connection to the NATS server")
}

// colorUnwanted reports whether the environment disables colors: NO_COLOR (no-color.org) or a dumb
// terminal.
func colorUnwanted(environ []string) bool {
	return lookupEnv(environ, "NO_COLOR") != "" || lookupEnv(environ, "TERM") == "dumb"
}

// lookupEnv returns the value of a variable, the last one if it is repeated, or "".
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
