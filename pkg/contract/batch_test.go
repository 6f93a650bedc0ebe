package contract_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"

	"github.com/google/go-cmp/cmp"
)

// TestBatchFieldsDeclared checks the tags, which the compiler does not.
func TestBatchFieldsDeclared(t *testing.T) {
	t.Parallel()
	names := make(map[string]bool)
	for _, f := range contract.BatchFields() {
		for _, name := range []string{f.Name, f.Alias} {
			if names[name] && name != "" {
				t.Errorf("%s is declared twice", name)
			}
			names[name] = true
		}
		switch f.Value(contract.Batch{}).(type) {
		case int:
			n, err := strconv.Atoi(f.Default)
			if f.Min >= f.Max || f.Max > 10_000_000 || !f.Optional && (err != nil || n < f.Min || n > f.Max) {
				t.Errorf("%+v", f)
			}
		case bool:
			if _, err := strconv.ParseBool(f.Default); err != nil && f.Help != "" {
				t.Errorf("%+v", f)
			}
		case time.Duration, contract.RunID, contract.CaseList:
		case string: // pkg/config and services/generator say which texts are allowed
			if f.Name != "prefix" && f.Name != "year" {
				t.Errorf("nobody checks the text of %s", f.Name)
			}
		default:
			t.Errorf("nobody reads the type of %s", f.Name)
		}
	}
	batch := reflect.TypeFor[contract.Batch]()
	for _, field := range reflect.VisibleFields(batch) {
		for word := range strings.FieldsSeq(string(field.Tag)) {
			key, _, isKey := strings.Cut(word, ":\"")
			if isKey && !slices.Contains([]string{"json", "alias", "default", "min", "max", "help"}, key) {
				t.Errorf("%s has the unknown tag %s", field.Name, key)
			}
		}
		for _, key := range []string{"min", "max"} {
			if text, given := field.Tag.Lookup(key); given && (field.Type.Kind() != reflect.Int || strings.Trim(text, "0123456789") != "") {
				t.Errorf("%s has the %s %q", field.Name, key, text)
			}
		}
	}
}

func TestBatchIdentity(t *testing.T) {
	t.Parallel()
	batch := contract.Batch{Prefix: "IMM", Year: "26", Start: 1, RunSettings: contract.RunSettings{MaxRetries: 3}}
	same := batch
	same.MaxRetries, same.SafeStopFails, same.RunID, same.PersistRawHTML = 7, 0, "x", true
	if batch.Identity("sim") != same.Identity("sim") {
		t.Error("retries, safe stops and names made another batch")
	}
	seen := map[string]string{batch.Identity("sim"): "itself", batch.Identity("fct-cf"): "site"}
	for name, change := range map[string]func(*contract.Batch){
		"prefix": func(b *contract.Batch) { b.Prefix = "T" }, "year": func(b *contract.Batch) { b.Year = "24" },
		"start": func(b *contract.Batch) { b.Start = 2 }, "end": func(b *contract.Batch) { b.End = 2 },
		"max_cases": func(b *contract.Batch) { b.MaxCases = 2 }, "probe": func(b *contract.Batch) { b.Probe = true },
		"recheck": func(b *contract.Batch) { b.Recheck = true }, "force": func(b *contract.Batch) { b.Force = true },
		"probe_only": func(b *contract.Batch) { b.ProbeOnly = true }, "new": func(b *contract.Batch) { b.New = true },
	} {
		other := batch
		change(&other)
		identity := other.Identity("sim")
		if before, taken := seen[identity]; taken {
			t.Errorf("%s and %s make the same batch", name, before)
		}
		seen[identity] = name
	}
}

// TestBatchIdentityStable has the identity that an earlier version stored.
func TestBatchIdentityStable(t *testing.T) {
	t.Parallel()
	b := contract.Batch{Prefix: "T", Year: "24", Start: 3, MaxCases: 4, End: 5,
		RunSettings: contract.RunSettings{Probe: true, ProbeOnly: true, New: true, Recheck: true}}
	if got, want := b.Identity("sim"), "ef9f2c5f0bfefd071d6f59895384a56a"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestManifest_Stored reads a manifest that an earlier version stored, and writes it with the same
// keys and values.
func TestManifest_Stored(t *testing.T) {
	t.Parallel()
	stored := `{"v":1,"run_id":"imm-25-a","prefix":"IMM","year":"25","range":{"start":3,"end":50}` +
		`,"batch":"ef9f2c5f0bfefd071d6f59895384a56a","site":"sim","origin":"http://127.0.0.1:1"` +
		`,"max_retries":4,"request_timeout":2000000000,"job_timeout":300000000000` +
		`,"safe_stop_no_records":7,"safe_stop_fails":9,"recheck":false,"force":false` +
		`,"persist_raw_html":true,"probe":true,"probe_budget":150,"probe_spent":3,"new":true` +
		`,"recheck_above":12,"recheck_before":"2026-01-02T03:04:05Z","created_at":"2026-01-02T04:04:05Z"` +
		`,"config":{"site":"sim"},"command":{"year":"25"},"program":"1.2.3"}`
	var m contract.Manifest
	if err := json.Unmarshal([]byte(stored), &m); err != nil {
		t.Fatal(err)
	}
	want := contract.RunSettings{Probe: true, ProbeBudget: 150, MaxRetries: 4, RequestTimeout: 2 * time.Second,
		JobTimeout: 5 * time.Minute, SafeStopNoRecords: 7, SafeStopFails: 9, PersistRawHTML: true, New: true}
	if diff := cmp.Diff(want, m.RunSettings); diff != "" {
		t.Error(diff)
	}
	again, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	if err := errors.Join(json.Unmarshal([]byte(stored), &before), json.Unmarshal(again, &after)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}
