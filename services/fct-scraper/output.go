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

// print writes the result of a command. What of it is somebody else's has been made one line by sanitize.Line; what was
// forgotten still steers no terminal, and no secret gets out.
func (p *program) print(text string) error {
	_, err := io.WriteString(p.stdout, sanitize.Mask(sanitize.Lines(text)))
	return err
}

// stdoutWriter is stdout. It remembers that it could not be written, for those who do not look.
type stdoutWriter struct {
	w      io.Writer
	failed atomic.Pointer[error]
}

// Write writes to stdout. Its error wraps errResult.
func (r *stdoutWriter) Write(data []byte) (int, error) {
	n, err := r.w.Write(data)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, syscall.EPIPE): // who reads no further has seen enough: the exit code stays that of the work
		return len(data), nil
	}
	err = fmt.Errorf("%w: %w", errResult, err)
	r.failed.CompareAndSwap(nil, &err)
	return n, err
}

// writeErr is the first error of a write.
func (r *stdoutWriter) writeErr() error {
	if err := r.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// printJSON writes the result of a command as one JSON document, unless there was one before.
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

// errorText is an error as people read it: one line for each error that was joined, and whatever a site, a file or a
// broker put into one of them stays in its line.
func errorText(err error) string { return sanitize.Mask(replaceBufferError(errorLines(err))) }

func errorLines(err error) string {
	if settings, is := any(err).(*config.Error); is {
		return joinLines(settings.Problems, sanitize.Line)
	}
	inner := wrappedErrors(err)
	text := err.Error()
	if texts := errorMessages(inner); len(inner) > 1 && text == strings.Join(texts, "\n") {
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

// wrappedErrors are the errors that an error was made of.
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

func errorMessages(all []error) []string {
	texts := make([]string, len(all))
	for i, err := range all {
		texts[i] = err.Error()
	}
	return texts
}

func joinLines[T any](parts []T, line func(T) string) string {
	lines := make([]string, len(parts))
	for i, part := range parts {
		lines[i] = line(part)
	}
	return strings.Join(lines, "\n")
}
