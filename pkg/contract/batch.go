package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Batch is what somebody asks for: a series, a year, a range and how to fetch it. Its fields and
// their tags are the only declaration of the settings of a run. The settings file, variables,
// flags and batch.start read their keys, defaults, limits and help from there (BatchFields).
//
//	json     the key
//	alias    another name of the key
//	default  the default of the setting as text; "none" stands for zero, which has no other text
//	min max  the limits of a whole number; 0 and MaxNumber if omitted
//	zero     a duration may also be 0
//	help     what the setting does; a field without help is set by batch.start only
//
// A duration is 1 ms to ten years.
type Batch struct {
	RunID    RunID  `json:"run_id" default:"none"`
	Prefix   string `json:"prefix" default:"IMM" help:"series of the court's files"`
	Year     string `json:"year" help:"year of the files; this year when not given"`
	Start    int    `json:"start" default:"1" min:"1" help:"first number"`
	MaxCases int    `json:"max_cases" default:"none" min:"1" help:"how many numbers at most, from start on"`
	End      int    `json:"end" default:"none" min:"1" help:"last number"`
	// IDs are the cases of a batch that has a list. WithIDs sets the fields above to it.
	IDs CaseList `json:"ids" default:"none"`
	RunSettings
}

// RunSettings are the settings of a batch that its run keeps in the manifest. Resuming the run
// renews them.
type RunSettings struct {
	// Probe: the bound is searched for first, with at most ProbeBudget requests.
	Probe       bool `json:"probe,omitempty" default:"true" help:"find the highest number first"`
	ProbeBudget int  `json:"probe_budget,omitempty" default:"200" min:"1" help:"hard limit on the requests of that search"`
	Recheck     bool `json:"recheck" default:"false" help:"ask again for numbers known as no-record"`
	Force       bool `json:"force" default:"false" help:"ask again for every number"`
	MaxRetries  int  `json:"max_retries" alias:"retry_limit" default:"3" max:"20" help:"retries after the first attempt, for transient failures"`
	// RequestTimeout and JobTimeout apply to the run on every fetcher; 0 is each fetcher's own
	// setting. A manifest has them in nanoseconds, batch.start in the form of settings: seconds, or
	// a form such as "90s".
	RequestTimeout    time.Duration `json:"request_timeout,omitempty" default:"30s" help:"one HTTP exchange, body included"`
	JobTimeout        time.Duration `json:"job_timeout,omitempty" default:"300" help:"one attempt of a case"`
	SafeStopNoRecords int           `json:"safe_stop_no_records" alias:"safe_stop_consecutive_no_record" default:"500" help:"consecutive no-records that stop the run; 0 is off"`
	SafeStopFails     int           `json:"safe_stop_fails" alias:"safe_stop_consecutive_fail" default:"20" help:"consecutive failed cases that stop the run; 0 is off"`
	// MaxDuration and MaxRequests limit each round: at the limit it ends as stopped. Pauses count.
	MaxDuration    time.Duration `json:"max_duration,omitempty" default:"none" help:"time after which the run stops; the same batch goes on"`
	MaxRequests    int           `json:"max_requests,omitempty" default:"none" min:"1" max:"10000000" help:"requests after which the run stops; the same batch goes on"`
	PersistRawHTML bool          `json:"persist_raw_html" default:"false" help:"keep every raw answer"`
	// Header: one more request a record, for the header fields that a docket lacks.
	Header bool `json:"header,omitempty" default:"false" help:"one more call a case: header fields that a docket lacks"`
	// ProbeOnly requests only the search for the bound. New requests only numbers above the highest
	// record: all no-records above it are fetched again.
	ProbeOnly bool `json:"probe_only,omitempty"`
	New       bool `json:"new,omitempty"`
}

// LimitReached returns why a round ends that has lasted so long and sent so many requests; empty if it
// does not end.
func (s RunSettings) LimitReached(elapsed time.Duration, requests int) string {
	switch {
	case s.MaxDuration > 0 && elapsed >= s.MaxDuration:
		return fmt.Sprintf("max_duration %s is over", s.MaxDuration)
	case s.MaxRequests > 0 && requests >= s.MaxRequests:
		return fmt.Sprintf("max_requests %d is used up", s.MaxRequests)
	default:
		return ""
	}
}

// BatchField describes a field of Batch, or of ControlSpec, by its tags.
type BatchField struct {
	Name string
	// Alias is empty if there is none.
	Alias         string
	Default, Help string
	// Min and Max are the limits of a whole number. Optional: zero, outside of them, stands for none.
	Min, Max int
	Optional bool
	// Zero: the duration may be 0.
	Zero  bool
	index []int
}

// BatchFields returns all fields of Batch in display order.
func BatchFields() []BatchField { return fieldsOf(reflect.TypeFor[Batch]()) }

// ControlFields returns all fields of ControlSpec.
func ControlFields() []BatchField { return fieldsOf(reflect.TypeFor[ControlSpec]()) }

func fieldsOf(form reflect.Type) []BatchField {
	var fields []BatchField
	for _, f := range reflect.VisibleFields(form) {
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		field := BatchField{Name: name, Alias: f.Tag.Get("alias"), Default: f.Tag.Get("default"), Help: f.Tag.Get("help"),
			Max: MaxNumber, Optional: f.Tag.Get("default") == "none", Zero: f.Tag.Get("zero") != "", index: f.Index}
		for key, limit := range map[string]*int{"min": &field.Min, "max": &field.Max} {
			if n, err := strconv.Atoi(f.Tag.Get(key)); err == nil {
				*limit = n
			}
		}
		fields = append(fields, field)
	}
	return fields
}

// LimitsRange reports whether the field limits the numbers of a batch. A list of ids takes the place
// of these fields.
func (f BatchField) LimitsRange() bool {
	return f.Name == "start" || f.Name == "max_cases" || f.Name == "end"
}

// Value returns the field's value in b.
func (f BatchField) Value(b Batch) any { return reflect.ValueOf(b).FieldByIndex(f.index).Interface() }

// Pointer returns the address of the field in b, a pointer to the struct whose field it is.
func (f BatchField) Pointer(b any) any {
	return reflect.ValueOf(b).Elem().FieldByIndex(f.index).Addr().Interface()
}

// WithIDs returns b as a batch of the cases of a list: its series and year, from the first listed
// number to the last one, without a search.
func (b Batch) WithIDs(list CaseList) Batch {
	b.IDs, b.Prefix, b.Year = list, list.Series, list.Year
	b.Start, b.End, b.MaxCases, b.Probe = list.Range().Start, list.Range().End, 0, false
	return b
}

// StartBody returns b as the body of batch.start. It contains every key, because the generator of a
// server may have other defaults, except those that stand for none and those that a list replaces.
func (b Batch) StartBody() ([]byte, error) {
	body := make(map[string]any)
	for _, f := range BatchFields() {
		value := f.Value(b)
		switch length, is := value.(time.Duration); {
		case !b.IDs.IsZero() && f.LimitsRange():
		case f.Optional && reflect.ValueOf(value).IsZero():
		case is:
			body[f.Name] = length.String()
		default:
			body[f.Name] = value
		}
	}
	return json.Marshal(body)
}

// MaxRange returns the largest possible range of the batch: from its start to the minimum of
// start+max_cases−1, end and the highest valid number.
func (b Batch) MaxRange() Range {
	end := MaxNumber
	if b.End > 0 {
		end = min(end, b.End)
	}
	if b.MaxCases > 0 {
		end = min(end, b.Start+b.MaxCases-1)
	}
	return Range{Start: b.Start, End: end}
}

// Validate checks the fields that depend on each other. Each single field was checked when it was
// decoded.
func (b Batch) Validate() []Problem {
	var problems []Problem
	if b.MaxRange().Size() == 0 {
		problems = append(problems, Problem{
			Field: "end", Value: strconv.Itoa(b.End), Allowed: fmt.Sprintf("start (%d) to %d", b.Start, MaxNumber),
		})
	}
	if b.ProbeOnly && !b.Probe {
		problems = append(problems, Problem{Field: "probe_only", Value: "true", Allowed: "with probe true alone"})
	}
	return problems
}

// Identity returns a key of the batch at a site. Two batches have the same key exactly if one
// resumes the other: they select the same numbers of the same site by the same rule. How the
// numbers are fetched, such as retries and safe stops, is not part of it.
//
// Stored runs have this key: the names and their order stay. A new setting that selects numbers is
// added at the end, with omitempty.
func (b Batch) Identity(site string) string {
	// Marshaling a struct of plain fields cannot fail, and keeps the order of the fields.
	text, _ := json.Marshal(struct {
		Site, Prefix, Year    string
		Start, MaxCases, End  int
		Probe, Recheck, Force bool
		ProbeOnly, New        bool
		IDs                   []byte `json:",omitempty"`
	}{site, b.Prefix, b.Year, b.Start, b.MaxCases, b.End, b.Probe, b.Recheck, b.Force, b.ProbeOnly, b.New,
		[]byte(b.IDs.numbers)})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}
