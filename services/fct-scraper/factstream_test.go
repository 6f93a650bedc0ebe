package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"fct-scraper/pkg/facts"
)

// recordLine is a record without entries, on one line.
func recordLine(series, year string, number int) string {
	return fmt.Sprintf(`{"version":2,"case_id":"%s-%d-%s","entries":0,"docket":[],"fetched_at":"2025-12-01T00:00:00Z","source":""}`, series, number, year)
}

func factRules(t *testing.T) *facts.Rules {
	t.Helper()
	rules, err := facts.Load("federal-court")
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// idsOf returns the case ids of lines of facts.
func idsOf(t *testing.T, lines []byte) (ids []string) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		var c struct {
			CaseID string `json:"case_id"`
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		ids = append(ids, c.CaseID)
	}
	return ids
}

func TestDeriveFacts_KeepsOrder(t *testing.T) {
	t.Parallel()
	const n = 3*batchRecords + 7
	var input strings.Builder
	var want []string
	for i := n; i > 0; i-- {
		input.WriteString(recordLine("IMM", "25", i) + "\r\n\n")
		want = append(want, fmt.Sprintf("IMM-%d-25", i))
	}
	var out bytes.Buffer
	err := deriveFacts(t.Context(), factRules(t), recordSource{stdin: strings.NewReader("\ufeff" + input.String()),
		paths: []string{"-"}}, factLines,
		func(lines []byte) error { out.Write(lines); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := idsOf(t, out.Bytes()); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("order %v", got)
	}
}

func TestDeriveFacts_FolderByNumber(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		series, year string
		number       int
	}{{"IMM", "25", 10}, {"IMM", "25", 9}, {"IMM", "03", 2}, {"IMM", "99", 4}, {"A", "25", 1}} {
		folder := filepath.Join(dir, c.series, c.year)
		if err := os.MkdirAll(folder, 0o750); err != nil {
			t.Fatal(err)
		}
		line := recordLine(c.series, c.year, c.number)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.json", c.series, c.number, c.year)),
			[]byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	err := deriveFacts(t.Context(), factRules(t), recordSource{paths: []string{dir}}, factLines,
		func(lines []byte) error { out.Write(lines); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(idsOf(t, out.Bytes()), " "),
		"A-1-25 IMM-4-99 IMM-2-03 IMM-9-25 IMM-10-25"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestDeriveFacts_OutputFails(t *testing.T) {
	t.Parallel()
	line := recordLine("IMM", "25", 1) + "\n"
	writes := 0
	err := deriveFacts(t.Context(), factRules(t), recordSource{stdin: strings.NewReader(strings.Repeat(line,
		20*batchRecords)), paths: []string{"-"}}, factLines,
		func([]byte) error { writes++; return syscall.ENOSPC })
	if !errors.Is(err, syscall.ENOSPC) || writes != 1 {
		t.Errorf("error %v after %d writes, want the first write's", err, writes)
	}
}

func TestOnceEach_SecondAttempt(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	attempt := onceEach(func(part []byte) error { out.Write(part); return nil })
	for _, parts := range [][]string{{"01", "2"}, {}, {"0"}, {"0", "1", "23"}, {"012345"}} {
		write := attempt()
		for _, part := range parts {
			if err := write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out.String() != "012345" {
		t.Errorf("wrote %s", out.String())
	}
	if err := attempt()([]byte("012x45, 6")); !errors.Is(err, errChanged) || errorExitCode(err) != codeBroker {
		t.Errorf("another output: %v", err)
	}
	if out.String() != "012345" {
		t.Errorf("wrote %s", out.String())
	}
}

// A read that waits for input does not delay the end.
func TestDeriveFacts_StopWhileInputWaits(t *testing.T) {
	t.Parallel()
	in, feed := io.Pipe()
	defer func() { _ = feed.Close() }()
	ctx, stop := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	go func() {
		for range batchRecords {
			_, _ = io.WriteString(feed, recordLine("IMM", "25", 1)+"\n") // fails after the end of the test
		}
	}()
	err := deriveFacts(ctx, factRules(t), recordSource{stdin: in, paths: []string{"-"}}, factLines,
		func([]byte) error { stop(stopped); return nil })
	if !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
}

func TestSplitLines(t *testing.T) {
	t.Parallel()
	const text = "a\r\n\nlong line\n\nlast"
	scanner := bufio.NewScanner(iotest.OneByteReader(strings.NewReader(text)))
	scanner.Split(splitLines())
	var got []string
	for scanner.Scan() {
		got = append(got, scanner.Text())
	}
	if want := []string{"a", "", "long line", "", "last"}; !slices.Equal(got, want) || scanner.Err() != nil {
		t.Errorf("%q, %v, want %q", got, scanner.Err(), want)
	}
	split, data := splitLines(), []byte("part of a line")
	for range 2 { // the second time with an end of a line in what was searched
		if advance, line, err := split(data, false); advance != 0 || line != nil || err != nil {
			t.Errorf("%q is split at %d, %v: it was searched before", data, advance, err)
		}
		data = []byte("part\nof a line, and more")
	}
}
