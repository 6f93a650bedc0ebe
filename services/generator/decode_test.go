package generator_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/services/generator"

	"github.com/google/go-cmp/cmp"
)

func defaults() contract.Batch {
	return contract.Batch{Prefix: "IMM", Year: "26", Start: 1, RunSettings: contract.RunSettings{ProbeBudget: 200,
		MaxRetries: 3, SafeStopNoRecords: 500, SafeStopFails: 20}}
}

func TestReadStartDefaults(t *testing.T) {
	t.Parallel()
	got, err := generator.ReadStart([]byte(`{"year":"2025","start":30,"max_cases":50,"retry_limit":0,"request_timeout":"250ms","job_timeout":90,"force":true,"run_id":"a-1"}`), defaults())
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.RunID, want.Year, want.Start, want.MaxCases, want.MaxRetries, want.Force = "a-1", "25", 30, 50, 0, true
	want.RequestTimeout, want.JobTimeout = 250*time.Millisecond, 90*time.Second
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, want := got.MaxRange(), (contract.Range{Start: 30, End: 79}); got != want {
		t.Errorf("limit %v, want %v", got, want)
	}
}

func TestReadStart_Invalid(t *testing.T) {
	t.Parallel()
	for body, names := range map[string][]string{
		``:                              {"JSON object"},
		`null`:                          {"null", "JSON object"},
		`[]`:                            {"[]", "JSON object"},
		`{"start":1} x`:                 {"JSON object"},
		`{"satrt":1}`:                   {"satrt", "unknown", "start"},
		`{"start":0}`:                   {"start 0:", "1 to 99999"},
		`{"start":1.5}`:                 {"start", "1.5", "whole number"},
		`{"start":"1"}`:                 {`start "1": allowed is a whole number, 1 to 99999, without quotes`},
		`{"start":null}`:                {"start", "null"},
		`{"start":1e99}`:                {"start", "1e99"},
		`{"end":100000}`:                {"end", "100000", "1 to 99999"},
		`{"start":9,"end":8}`:           {"end 8", "start (9)"},
		`{"max_cases":0}`:               {"max_cases", "1 to 99999"},
		`{"max_retries":21}`:            {"max_retries", "21", "0 to 20"},
		`{"job_timeout":0}`:             {"job_timeout 0:", "seconds", "1ms to ten years"},
		`{"job_timeout":-1}`:            {"job_timeout", "-1", "1ms to ten years"},
		`{"job_timeout":1e9}`:           {"job_timeout", "1e9", "1ms to ten years"},
		`{"job_timeout":"11y"}`:         {"job_timeout", "11y", "1ms to ten years"},
		`{"job_timeout":"999us"}`:       {"job_timeout", "999us", "1ms to ten years"},
		`{"request_timeout":""}`:        {"request_timeout", "1ms to ten years"},
		`{"request_timeout":null}`:      {"request_timeout", "null", "1ms to ten years"},
		`{"request_timeout":true}`:      {"request_timeout", "true", "1ms to ten years"},
		`{"request_timeout":[30]}`:      {"request_timeout", "30", "1ms to ten years"},
		`{"request_timeout":315360001}`: {"request_timeout", "315360001", "1ms to ten years"},
		`{"year":25}`:                   {"year 25: allowed is a text in quotes of two ASCII digits"},
		`{"year":"2\u202e5"}`:           {`year "2\u202e5": allowed`},
		`{"year":"1999"}`:               {"year", "1999", "two ASCII digits"},
		`{"prefix":"imm"}`:              {"prefix", "imm", "capital"},
		`{"prefix":"I.>"}`:              {"prefix", "capital"},
		`{"probe":"yes"}`:               {`probe "yes": allowed is true or false, without quotes`},
		`{"run_id":"../x"}`:             {"run_id", "../x", "a-z0-9"},
		`{"concurrency":4}`:             {"concurrency", "unknown"},
		`{"start":0,"prefix":"1"}`:      {"start", "prefix"},
		`{"ids":[]}`:                    {"ids []: it is empty: allowed is a list of ids"},
		`{"ids":null}`:                  {"ids null: it is not a list of texts"},
		`{"ids":"IMM-1-25"}`:            {`ids "IMM-1-25": it is not a list of texts`},
		`{"ids":[1]}`:                   {"ids [1]: it is not a list of texts"},
		`{"ids":[null]}`:                {"ids [null]: it is not a list of texts"},
		`{"ids":["IMM-0-25"]}`:          {`ids "IMM-0-25": `, "number 0", "1 to 99999"},
		`{"ids":["IMM-100000-25"]}`:     {"number 100000"},
		`{"ids":["a","b","c","d","e","f","IMM-7-25","g"]}`: {`ids "a", "b", "c", "d", "e" and 2 more: not a case id`},
		`{"ids":["IMM-1-25","T-2-25","IMM-3-24"]}`:         {`ids "T-2-25", "IMM-3-24": the first id is of series IMM and year 25`},
		`{"ids":["IMM-9-25..IMM-8-25"]}`:                   {"a lower number to a higher one"},
		`{"ids":["IMM-8-25..IMM-9-24"]}`:                   {"its series and year"},
		`{"ids":["IMM-8-25..IMM-9-25..IMM-10-25"]}`:        {"not a case id"},
		`{"ids":["IMM-25:AQ=="]}`:                          {"a bitmap has one or more numbers, 1 to 99999"},
		`{"ids":["IMM-25:!"]}`:                             {"not a bitmap of the form"},
		`{"ids":["x\u202e\n"]}`:                            {`"x\u202e\n"`},
		`{"ids":["IMM-1-25"],"start":1}`:                   {"start 1: ids are given too"},
		`{"ids":["IMM-1-25"],"end":2,"max_cases":3}`: {"end 2: ids are given too",
			"max_cases 3: ids are given too"},
		`{"ids":["IMM-1-25"],"probe":true}`:      {"probe true: ids are given too"},
		`{"ids":["IMM-1-25"],"new":true}`:        {"new true: ids are given too"},
		`{"ids":["IMM-1-25"],"probe_only":true}`: {"probe_only true: ids are given too"},
		`{"ids":["IMM-1-25"],"prefix":"T","year":"2024"}`: {`prefix "T": ids are given too: allowed is IMM`,
			`year "2024"`, "allowed is 25"},
	} {
		_, err := generator.ReadStart([]byte(body), defaults())
		if !errors.Is(err, generator.ErrCommand) {
			t.Errorf("%s: %v, want ErrCommand", body, err)
			continue
		}
		for _, name := range names {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %q does not name %q", body, err, name)
			}
		}
	}
}

// TestReadStart_ReadsStartBody sets every field of a batch, so that it covers new ones.
func TestReadStart_ReadsStartBody(t *testing.T) {
	t.Parallel()
	var want contract.Batch
	for i, f := range contract.BatchFields() {
		switch to := f.Pointer(&want).(type) {
		case *int:
			*to = 7 + i // two fields that were exchanged would differ
		case *bool:
			*to = true
		case *time.Duration:
			*to = time.Minute + time.Duration(i)*time.Millisecond
		case *contract.RunID:
			*to = "a-1"
		case *string:
			*to = map[string]string{"prefix": "T", "year": "24"}[f.Name]
		}
	}
	want.End = 100
	for name, want := range map[string]contract.Batch{"all": want, "defaults": defaults()} {
		want.RequestTimeout, want.JobTimeout = time.Second, 90*time.Second
		body, err := want.StartBody()
		if err != nil {
			t.Fatal(err)
		}
		got, err := generator.ReadStart(body, contract.Batch{})
		if err != nil {
			t.Errorf("%s: %s: %v", name, body, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s: %s", name, body, diff)
		}
	}
}

func TestReadControl(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{contract.SubjectStop, contract.SubjectPause, contract.SubjectResume} {
		if spec, err := generator.ReadControl(subject, []byte(`{"run_id":"imm-25-1"}`)); err != nil || spec.RunID != "imm-25-1" {
			t.Errorf("%s: %+v, %v", subject, spec, err)
		}
		for _, body := range []string{
			`{}`, `{"run_id":""}`, `{"run_id":7}`, `{"run":"a"}`, `"a"`, `{"run_id":"a","concurrency":2}`,
		} {
			if spec, err := generator.ReadControl(subject, []byte(body)); !errors.Is(err, generator.ErrCommand) {
				t.Errorf("%s %s: %+v, %v; want ErrCommand", subject, body, spec, err)
			}
		}
	}
}

func TestReadControl_Tune(t *testing.T) {
	t.Parallel()
	least, most, cases := time.Duration(0), 90*time.Second, 64
	want := contract.ControlSpec{RunID: "a", Tuning: contract.Tuning{DelayMin: &least, DelayMax: &most, Concurrency: &cases}}
	body, err := want.Body()
	if err != nil {
		t.Fatal(err)
	}
	got, err := generator.ReadControl(contract.SubjectTune, body)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: %v %s", body, err, diff)
	}
	for body, want := range map[string]string{
		`{"run_id":"a"}`:                                  "body",
		`{"concurrency":2}`:                               "run_id",
		`{"run_id":"a","concurrency":0}`:                  "concurrency 0: allowed is a whole number, 1 to 64",
		`{"run_id":"a","concurrency":65}`:                 "concurrency 65",
		`{"run_id":"a","concurrency":null}`:               "concurrency null",
		`{"run_id":"a","delay_min":-1}`:                   "delay_min -1",
		`{"run_id":"a","delay_min":"soon"}`:               "delay_min",
		`{"run_id":"a","delay_min":"3s","delay_max":"2"}`: `delay_min "3s": allowed is at most delay_max = 2s`,
		`{"run_id":"a","rest_every":5}`:                   "rest_every 5: unknown field",
	} {
		if _, err := generator.ReadControl(contract.SubjectTune, []byte(body)); !errors.Is(err, generator.ErrCommand) ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", body, err, want)
		}
	}
}

func FuzzReadStart(f *testing.F) {
	for _, seed := range []string{`{}`, `{"year":"25","start":1,"max_cases":50}`, `{"run_id":"x","end":5}`,
		`{"probe":false`,
		`{"ids":["IMM-231-25","IMM-240-25..IMM-260-25"]}`, `{"ids":["IMM-25:AgE="],"year":"2025"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := generator.ReadStart(data, defaults())
		if err != nil {
			if !errors.Is(err, generator.ErrCommand) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		limit := batch.MaxRange()
		if _, err := contract.NewCaseID(batch.Prefix, limit.End, batch.Year); err != nil || limit.Size() < 1 {
			t.Fatalf("%s became %+v: %v", data, batch, err)
		}
		if ids := batch.IDs; !ids.IsZero() && (ids.Range() != limit || ids.Series != batch.Prefix ||
			ids.Year != batch.Year || batch.Probe) {
			t.Fatalf("%s became %+v", data, batch)
		}
	})
}

func TestReadStart_IDs(t *testing.T) {
	t.Parallel()
	base := defaults()
	base.MaxCases, base.Probe, base.Start = 7, true, 4 // a list takes their place
	base.RequestTimeout, base.JobTimeout = time.Second, time.Minute
	for body, want := range map[string]contract.Range{
		`{"ids":["IMM-231-25"]}`: {Start: 231, End: 231},
		`{"ids":["IMM-9-25","IMM-3-25","IMM-9-25"],"prefix":"IMM","year":"2025"}`: {Start: 3, End: 9},
		`{"ids":["IMM-3-25..IMM-99999-25"],"probe":false}`:                        {Start: 3, End: 99999},
	} {
		got, err := generator.ReadStart([]byte(body), base)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got.MaxRange() != want || got.Prefix != "IMM" || got.Year != "25" || got.Probe || got.IDs.Range() != want {
			t.Errorf("%s: %s-%s %v, probe %t, ids %v; want %v", body, got.Prefix, got.Year, got.MaxRange(), got.Probe,
				got.IDs.Range(), want)
		}
		// What the program sends for this batch is the same batch, whatever the generator's defaults are.
		sent, err := got.StartBody()
		if err != nil {
			t.Fatal(err)
		}
		again, err := generator.ReadStart(sent, base)
		if err != nil || again.Identity("sim") != got.Identity("sim") {
			t.Errorf("%s sent as %s: %v, another batch", body, sent, err)
		}
	}
}

// The longest list of a year, and the one with the longest plain form, fit into a command.
func TestReadStart_LongestList(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]int{"all": 1, "every second": 2} {
		var lists contract.CaseLists
		for n := 1; n <= contract.MaxNumber; n += step {
			lists.Add(contract.CaseID{Series: "ABCDE", Year: "25", Number: n})
		}
		batch := defaults()
		batch.RequestTimeout, batch.JobTimeout = time.Second, time.Minute
		body, err := batch.WithIDs(lists.Lists()[0]).StartBody()
		if err != nil {
			t.Fatal(err)
		}
		got, err := generator.ReadStart(body, defaults())
		if err != nil || got.IDs != lists.Lists()[0] || len(body) > 20<<10 {
			t.Errorf("%s: %v, %d bytes, %d ids", name, err, len(body), got.IDs.Size())
		}
	}
}

// A command may be full of long ranges: they are one set of at most all numbers of a year.
func TestReadStart_ManyRanges(t *testing.T) {
	t.Parallel()
	element := `"I-1-25..I-99999-25",`
	body := `{"ids":[` + strings.TrimSuffix(strings.Repeat(element, 65000/len(element)), ",") + `]}`
	got, err := generator.ReadStart([]byte(body), defaults())
	if err != nil || got.IDs.Size() != contract.MaxNumber {
		t.Errorf("%v, %d ids", err, got.IDs.Size())
	}
}
