package export

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
)

// Number is what a store holds of one number.
type Number struct {
	Coverage
	// Record is the newest record; nil if there is none.
	Record *contract.Record
	// Facts are those of Record; nil without rules.
	Facts *facts.Case
}

// Coverage is how a number stands.
type Coverage struct {
	CaseID contract.CaseID
	// Outcome is the outcome of the newest run that gave one, where a failure never replaces a success
	// or a confirmed no-record. It is empty for a number that was requested and has none yet.
	Outcome contract.Outcome
	// Unconfirmed is set for a no-record that no later record has confirmed.
	Unconfirmed bool
	// At is the start of the last attempt of the run that gave the outcome.
	At time.Time
	// Attempts are those of all runs.
	Attempts int
	// Error is why the number failed.
	Error string
	// RunID and Site are those of the outcome.
	RunID contract.RunID
	Site  string
}

// row is the place of one row: an entry or a party has the index n.
type row struct {
	*Number
	n int
}

// Column is one column of a table.
type Column struct {
	Name string
	Type Type
	Help string
	// key columns identify a row; they are never null.
	key   bool
	value func(row) Value
}

// Table is one table of an export. Tables and columns are defined here alone: every format and the
// datapackage follow.
type Table struct {
	Name, Help string
	Columns    []Column
	// rows is how many rows a number has.
	rows func(*Number) int
	// nested are tables whose rows are a list in each row, under the name of the table.
	nested []nestedTable
}

type nestedTable struct {
	name  string
	table Table
	// known reports whether the list is known; it is null if not.
	known func(*Number) bool
}

// The names of the tables.
const (
	TableCases    = "cases"
	TableEntries  = "entries"
	TableParties  = "parties"
	TableCoverage = "coverage"
)

// Tables returns all tables.
func Tables() []Table { return []Table{casesTable(), entriesTable(), partiesTable(), coverageTable()} }

func caseColumns() []Column {
	return []Column{
		{"case_id", Text, "number of the file", true, func(r row) Value { return textValue(r.CaseID.String()) }},
		{"series", Text, "series of the file", false, func(r row) Value { return textValue(r.CaseID.Series) }},
		{"year", Int, "year of the file", false, func(r row) Value { return intValue(contract.FullYear(r.CaseID.Year)) }},
		{"number", Int, "number in its series and year", false, func(r row) Value { return intValue(r.CaseID.Number) }},
	}
}

func casesTable() Table {
	t := Table{Name: TableCases, Help: "one row a case: header, facts, provenance",
		rows: func(n *Number) int { return count(n.Record != nil) }}
	t.Columns = append(caseColumns(), columnsOf(func(r row) any { return &r.Record.Header })...)
	t.Columns = append(t.Columns,
		Column{"entries", Int, "number of docket entries", false,
			func(r row) Value { return intValue(r.Record.Entries) }},
		Column{"party_count", Int, "number of parties; null if they were not collected", false, func(r row) Value {
			if r.Record.Parties == nil {
				return Value{}
			}
			return intValue(len(r.Record.Parties))
		}},
		Column{"flags", List, "peculiarities, such as header-only", false,
			func(r row) Value { return listValue(r.Record.Flags) }},
	)
	for _, c := range caseFacts() {
		t.Columns = append(t.Columns, c.column())
	}
	t.Columns = append(t.Columns,
		Column{"fetched_at", Time, "time of the first request that showed the case", false,
			func(r row) Value { return timeValue(r.Record.FetchedAt) }},
		Column{"source", Text, "URL of that request", false, func(r row) Value { return textValue(r.Record.Source) }},
		Column{"run_id", Text, "run that gave the number its outcome", false,
			func(r row) Value { return textValue(string(r.RunID)) }},
		Column{"site", Text, "site profile of that run", false, func(r row) Value { return textValue(r.Site) }},
	)
	return t
}

// caseFact is a column of facts.Case; it is null without rules.
type caseFact struct {
	name  string
	t     Type
	help  string
	value func(*facts.Case) Value
}

func (f caseFact) column() Column {
	return Column{f.name, f.t, f.help, false, func(r row) Value {
		if r.Facts == nil {
			return Value{}
		}
		return f.value(r.Facts)
	}}
}

func caseFacts() []caseFact {
	return []caseFact{
		{"case_type", Text, "what the case is about, such as refugee_protection",
			func(c *facts.Case) Value { return optionalText(c.CaseType) }},
		{"status", Text, "where the case stands, such as awaiting_leave",
			func(c *facts.Case) Value { return textValue(c.Status) }},
		{"leave", Text, "decision on leave: granted or dismissed",
			func(c *facts.Case) Value { return optionalText(c.Leave) }},
		{"leave_on", Date, "day of that decision", func(c *facts.Case) Value { return optionalDate(c.LeaveOn) }},
		{"leave_judge", Text, "judge of that decision",
			func(c *facts.Case) Value { return optionalText(c.LeaveJudge) }},
		{"review", Text, "decision on judicial review: granted or dismissed",
			func(c *facts.Case) Value { return optionalText(c.Review) }},
		{"review_on", Date, "day of that decision", func(c *facts.Case) Value { return optionalDate(c.ReviewOn) }},
		{"review_judge", Text, "judge of that decision",
			func(c *facts.Case) Value { return optionalText(c.ReviewJudge) }},
		{"stay_motions", Int, "number of motions for a stay of removal",
			func(c *facts.Case) Value { return intValue(c.StayMotions) }},
		{"stay_outcome", Text, "last decision about one",
			func(c *facts.Case) Value { return optionalText(c.StayOutcome) }},
		{"visa_office", Text, "visa office of the decision under review",
			func(c *facts.Case) Value { return optionalText(c.VisaOffice) }},
		{"rule9_days", Int, "days from the first request under Rule 9 to the answer",
			func(c *facts.Case) Value { return optionalInt(c.Rule9Days) }},
		{"closed_on", Date, "day of the entry that closed the case",
			func(c *facts.Case) Value { return optionalDate(c.ClosedOn) }},
		{"days_to_close", Int, "days from filing to closing",
			func(c *facts.Case) Value { return optionalInt(c.DaysToClose) }},
		{"age_days", Int, "age of an open case when it was fetched",
			func(c *facts.Case) Value { return optionalInt(c.AgeDays) }},
		{"last_entry_on", Date, "day of the last entry",
			func(c *facts.Case) Value { return optionalDate(c.LastEntryOn) }},
		{"milestones", JSON, "steps of the case with day, rule and entry",
			func(c *facts.Case) Value { return jsonValue(c.Milestones) }},
		{"conflict", JSON, "facts for which entries or rules disagree",
			func(c *facts.Case) Value { return jsonValue(c.Conflict) }},
		{"fact_sources", JSON, "rule and entry of each fact",
			func(c *facts.Case) Value { return jsonValue(c.Sources) }},
	}
}

func entriesTable() Table {
	t := Table{Name: TableEntries, Help: "one row a docket entry with its facts", rows: func(n *Number) int {
		if n.Record == nil {
			return 0
		}
		return len(n.Record.Docket)
	}}
	t.Columns = append(t.Columns, caseColumns()[0],
		Column{"position", Int, "place in the docket, from 1", true, func(r row) Value { return intValue(r.n + 1) }})
	t.Columns = append(t.Columns, columnsOf(func(r row) any { return &r.Record.Docket[r.n] })...)
	for _, f := range entryFacts() {
		t.Columns = append(t.Columns, Column{f.name, f.t, f.help, false, func(r row) Value {
			if r.Facts == nil {
				return Value{}
			}
			return f.value(r.Facts.EntryFacts[r.n])
		}})
	}
	return t
}

type entryFact struct {
	name  string
	t     Type
	help  string
	value func(*facts.Entry) Value
}

func entryFacts() []entryFact {
	return []entryFact{
		{"kind", Text, "kind of the entry, such as order", func(e *facts.Entry) Value { return textValue(e.Kind) }},
		{"final", Bool, "whether the entry is marked as a final decision",
			func(e *facts.Entry) Value { return boolValue(e.Final) }},
		{"judge", Text, "judge who decided or heard", func(e *facts.Entry) Value { return optionalText(e.Judge) }},
		{"officer", Text, "other officer who decided or heard",
			func(e *facts.Entry) Value { return optionalText(e.Officer) }},
		{"outcome", Text, "granted, dismissed or other; null for an entry that decides nothing",
			func(e *facts.Entry) Value { return optionalText(e.Outcome) }},
		{"about", List, "what the entry is about, such as leave",
			func(e *facts.Entry) Value { return listValue(e.About) }},
		{"motion", Int, "document number of the motion that the entry refers to",
			func(e *facts.Entry) Value { return optionalInt(e.Motion) }},
		{"decided_on", Date, "day of the decision in the text",
			func(e *facts.Entry) Value { return optionalDate(e.DecidedOn) }},
		{"rules", JSON, "rule of each fact", func(e *facts.Entry) Value { return jsonValue(e.Rules) }},
	}
}

func partiesTable() Table {
	t := Table{Name: TableParties, Help: "one row a party and its counsel, if parties were collected",
		rows: func(n *Number) int {
			if n.Record == nil {
				return 0
			}
			return len(n.Record.Parties)
		}}
	t.Columns = append(t.Columns, caseColumns()[0],
		Column{"position", Int, "place in the list, from 1", true, func(r row) Value { return intValue(r.n + 1) }})
	t.Columns = append(t.Columns, columnsOf(func(r row) any { return &r.Record.Parties[r.n] })...)
	return t
}

func coverageTable() Table {
	return Table{Name: TableCoverage, Help: "one row a number: outcome, when, attempts",
		rows: func(*Number) int { return 1 },
		Columns: append(caseColumns(), []Column{
			{"outcome", Text, "success, no-record or failed; null if the number has none yet", false,
				func(r row) Value { return textValue(string(r.Outcome)) }},
			{"confirmed", Bool, "whether a no-record is confirmed; null for other outcomes", false, func(r row) Value {
				if r.Outcome != contract.NoRecord {
					return Value{}
				}
				return boolValue(!r.Unconfirmed)
			}},
			{"at", Time, "start of the last attempt", false, func(r row) Value { return timeValue(r.At) }},
			{"attempts", Int, "attempts of all runs", false, func(r row) Value { return intValue(r.Attempts) }},
			{"error", Text, "why the number failed", false, func(r row) Value { return textValue(r.Error) }},
			{"run_id", Text, "run of the outcome", false, func(r row) Value { return textValue(string(r.RunID)) }},
			{"site", Text, "site profile of that run", false, func(r row) Value { return textValue(r.Site) }},
		}...)}
}

// rllTable has the columns in which publishers of open legal data exchange court files.
func rllTable() Table {
	return Table{Name: TableCases, Help: "one row a case in the columns of the Refugee Law Lab",
		rows: casesTable().rows, Columns: []Column{
			{"citation", Text, "number of the file", true, func(r row) Value { return textValue(r.CaseID.String()) }},
			{"citation2", Text, "second citation; always null", false, func(row) Value { return Value{} }},
			{"dataset", Text, "series of the file", false, func(r row) Value { return textValue(r.CaseID.Series) }},
			{"year", Int, "year of the file", false, func(r row) Value { return intValue(contract.FullYear(r.CaseID.Year)) }},
			{"name", Text, "style of cause", false, func(r row) Value { return textValue(r.Record.StyleOfCause) }},
			{"language", Text, "language of the proceeding: en or fr", false,
				func(r row) Value { return textValue(languageOf(r.Record)) }},
			{"document_date", Date, "day on which the file was opened", false,
				func(r row) Value { return dateValue(r.Record.FiledOn) }},
			{"source_url", Text, "URL of the first request that showed the case", false,
				func(r row) Value { return textValue(r.Record.Source) }},
			{"scraped_timestamp", Time, "time of that request", false,
				func(r row) Value { return timeValue(r.Record.FetchedAt) }},
			{"unofficial_text", Text, "the docket as text", false,
				func(r row) Value { return textValue(docketText(r.Record)) }},
			{"other", JSON, "the record", false, func(r row) Value { return recordValue(r.Record) }},
		}}
}

func recordValue(r *contract.Record) Value {
	text, err := r.MarshalJSON()
	return Value{set: err == nil, text: string(text)}
}

func languageOf(r *contract.Record) string {
	switch strings.ToLower(r.LanguageEN) {
	case "english":
		return "en"
	case "french":
		return "fr"
	}
	return ""
}

// docketText returns the docket as text: a line for each entry.
func docketText(r *contract.Record) string {
	var text strings.Builder
	for i := range r.Docket {
		e := &r.Docket[i]
		for _, part := range []string{e.EnteredOn, e.OfficeEN, e.Text} {
			if part != "" {
				text.WriteString(part + " ")
			}
		}
		text.WriteByte('\n')
	}
	return text.String()
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// columnsOf returns a column for each field of a struct of package contract. of returns a pointer to
// the struct. The zero value of a field is null unless its tag says otherwise.
func columnsOf(of func(row) any) []Column {
	sample := row{Number: &Number{Record: &contract.Record{Docket: make([]contract.DocketEntry, 1),
		Parties: make([]contract.Party, 1)}}}
	t := reflect.TypeOf(of(sample)).Elem()
	columns := make([]Column, t.NumField())
	for i := range columns {
		field := t.Field(i)
		get := func(r row) reflect.Value { return reflect.ValueOf(of(r)).Elem().Field(i) }
		c := Column{Name: field.Tag.Get("json"), Help: field.Tag.Get("help")}
		switch value := reflect.Zero(field.Type).Interface().(type) {
		case contract.YesNo:
			c.Type = Bool
			c.value = func(r row) Value {
				flag := contract.YesNo(get(r).Int())
				if flag == contract.Unknown {
					return Value{}
				}
				return boolValue(flag == contract.Yes)
			}
		case []string:
			c.Type = List
			c.value = func(r row) Value { return listValue(get(r).Interface().([]string)) } //nolint:forcetypeassert // the type was checked
		case int:
			c.Type = Int
			c.value = func(r row) Value { return countValue(int(get(r).Int())) }
		case string:
			c.value = func(r row) Value { return textValue(get(r).String()) }
			if field.Tag.Get("format") == "date" {
				c.Type = Date
				c.value = func(r row) Value { return dateValue(get(r).String()) }
			}
		default:
			panic(fmt.Sprintf("field %s of %s has the type %T, which has no column type", field.Name, t, value))
		}
		columns[i] = c
	}
	return columns
}

// keys returns the names of the key columns.
func (t Table) keys() (names []string) {
	for _, c := range t.Columns {
		if c.key {
			names = append(names, c.Name)
		}
	}
	return names
}

// names returns the names of all columns.
func (t Table) names() []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}
	return names
}

// with returns the table with the named columns, in this order, and the key columns if keyed.
func (t Table) with(names []string, keyed bool) Table {
	var columns []Column
	if keyed {
		for _, c := range t.Columns {
			if c.key && !slices.Contains(names, c.Name) {
				columns = append(columns, c)
			}
		}
	}
	for _, name := range names {
		i := slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
		columns = append(columns, t.Columns[i])
	}
	t.Columns = columns
	return t
}

// appendRow appends the values of the n-th row of a number.
func (t Table) appendRow(to Row, number *Number, n int) Row {
	for i := range t.Columns {
		to = append(to, t.Columns[i].value(row{number, n}))
	}
	return to
}
