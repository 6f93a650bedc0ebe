package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"
)

func TestExplain_StoreInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	if told := did(t, codeBroker, "explain", "IMM-1-25", "--data-dir", dir); !strings.Contains(told.stderr, "in use by another process: process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("%q does not name process %d", told.stderr, os.Getpid())
	}
	if err := server.OpenSocket(); err != nil {
		t.Fatal(err)
	}
	if told := did(t, codeUsage, "explain", "IMM-1-25", "--data-dir", dir); !strings.Contains(told.stderr, "no run was ever started") {
		t.Errorf("beside a server that lets others in: %s", told.stderr)
	}
}

// A store that is only looked at stays as it is: no stream is made, and no folder.
func TestExplain_ChangesNothing(t *testing.T) {
	fcttest.SkipUnlessSoak(t)
	t.Parallel()
	dir, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if told := did(t, codeUsage, "explain", "IMM-1-25", "--data-dir", dir, "--output", output); !strings.Contains(told.stderr, "no run was ever started") {
		t.Errorf("%q", told.stderr)
	}
	if _, err := os.Stat(output); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the output folder was made: %v", err)
	}
	if streams, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*")); err != nil || len(streams) > 0 {
		t.Errorf("streams %q, %v", streams, err)
	}
}
