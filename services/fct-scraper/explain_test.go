package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/natsd"
	"fct-scraper/services/reporter"
)

func TestExplainTellsWhoHasTheStore(t *testing.T) {
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

// A run that a killed process left is no business of one who only looks.
func TestExplainMarksNoRun(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 5, Max: 300, Latency: time.Millisecond}, map[string]string{"end": "300", "concurrency": "1"})
	p.cut(20, nil)
	for range 2 {
		told := did(t, codeCompleted, "explain", "IMM-1-25", "--data-dir", p.settings["data_dir"], "--output", p.settings["output"])
		if !strings.Contains(told.stdout, "numbers 1 to 300, running") {
			t.Errorf("%q; want a run that still says it is running", told.stdout)
		}
	}
}

// A store that is only looked at stays as it is: no stream is made, and no folder.
func TestExplainChangesNothing(t *testing.T) {
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

func TestExplainAgreesWithTheCourt(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 9, Max: 300, Missing: 0.2, Faults: []courtsim.Fault{{Kind: "500", Share: 0.3, Times: 2}}},
		map[string]string{"start": "250", "end": "270", "max_retries": "3", "backoff_base": "1ms", "backoff_max": "5ms"})
	report := p.report(nil)
	asked := p.sim.Stats().PerNumber["IMM-25"]
	canaries := 0 // which are no attempts of their numbers
	for number := 249; number <= 271; number++ {
		id := contract.CaseID{Series: "IMM", Year: "25", Number: number}
		told := did(t, codeCompleted, "explain", id.String(), "--json", "--data-dir", p.settings["data_dir"], "--output", p.settings["output"])
		var life reporter.History
		if err := json.Unmarshal([]byte(told.stdout), &life); err != nil {
			t.Fatal(err)
		}
		requests := 0
		for _, run := range life.Runs {
			for _, attempt := range run.Attempts {
				requests += len(attempt.Requests)
			}
		}
		want := 0
		for _, times := range asked[strconv.Itoa(number)] {
			want += times
		}
		canaries += want - requests
		if requests > want || life.Asked != (want > 0) {
			t.Errorf("%s: %d requests told, asked %t; the court saw %d", id, requests, life.Asked, want)
		}
		if exists := p.sim.Exists(id) && want > 0; (life.Record != nil && life.Record.There) != exists {
			t.Errorf("%s: record %+v, want one: %t", id, life.Record, exists)
		}
	}
	if canaries != report.CanaryRequests {
		t.Errorf("the court saw %d requests more than were told, the report has %d canaries", canaries, report.CanaryRequests)
	}
}
