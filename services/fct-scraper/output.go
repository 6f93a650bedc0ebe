package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"syscall"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/sanitize"
)

// print writes the result of a command to stdout. Callers pass external text through sanitize.Line.
// As a second line of defense, print escapes control characters and masks secrets.
func (p *program) print(text string) error {
	_, err := io.WriteString(p.stdout, sanitize.Mask(sanitize.Lines(text)))
	return err
}

// stdoutWriter writes to stdout. It remembers its first error for callers that ignore it.
type stdoutWriter struct {
	w      io.Writer
	failed atomic.Pointer[error]
}

// Write writes to stdout. Its error wraps errResult. A closed pipe is no error.
func (w *stdoutWriter) Write(data []byte) (int, error) {
	n, err := w.w.Write(data)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, syscall.EPIPE): // a reader such as head has read enough: no error
		return len(data), nil
	}
	err = fmt.Errorf("%w: %w", errResult, err)
	w.failed.CompareAndSwap(nil, &err)
	return n, err
}

func (w *stdoutWriter) writeErr() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// printJSON writes the result of a command as one JSON document, unless one has been written
// before.
func (p *program) printJSON(value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	if !p.jsonWritten.CompareAndSwap(false, true) {
		return nil
	}
	return p.print(string(sanitize.JSON(text)) + "\n")
}

// jsonText returns a value as an indented JSON document.
func jsonText(value any) string {
	text, _ := json.MarshalIndent(value, "", "  ") // fails only for types that this program does not print
	return string(sanitize.JSON(text)) + "\n"
}

// printResult writes the result of a command: as one JSON document if that was requested, else as
// text.
func (p *program) printResult(value any, text string) error {
	if p.jsonWanted {
		return p.printJSON(value)
	}
	return p.print(text)
}

// errorText formats an error for people: one line for each joined error. Text that a site, a file
// or a broker put into an error cannot add lines.
func errorText(err error) string { return sanitize.Mask(replaceBufferError(errorLines(err))) }

func errorLines(err error) string {
	if settings, is := any(err).(*config.Error); is {
		return joinLines(settings.Problems, sanitize.Line)
	}
	inner := wrappedErrors(err)
	text := err.Error()
	if len(inner) > 1 && text == joinLines(inner, error.Error) {
		return joinLines(inner, errorLines)
	}
	var lines strings.Builder
	for _, cause := range inner {
		before, after, found := strings.Cut(text, cause.Error())
		if !found {
			continue
		}
		lines.WriteString(sanitize.Line(before) + errorLines(cause))
		text = after
	}
	lines.WriteString(sanitize.Line(text))
	return lines.String()
}

func wrappedErrors(err error) []error {
	switch e := any(err).(type) {
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			return []error{cause}
		}
	}
	return nil
}

func joinLines[T any](parts []T, line func(T) string) string {
	lines := make([]string, len(parts))
	for i, part := range parts {
		lines[i] = line(part)
	}
	return strings.Join(lines, "\n")
}
