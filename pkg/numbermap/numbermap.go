// Package numbermap holds the state of every number of a run, for people: as JSON for the API and as
// an SVG image for pages. It reads nothing; its callers say what each number's state is.
package numbermap

import (
	_ "embed" // the style
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"fct-scraper/pkg/contract"
)

// State is what is known about one number of a run.
type State uint8

// The closed list of states. The zero value is Unseen.
const (
	Unseen      State = iota // to request, not requested yet
	InFlight                 // fetched right now
	Success                  // the record is stored
	NoRecord                 // a confirmed no-record
	Unconfirmed              // a no-record that nothing has confirmed yet
	Failed                   // trouble outlasted the retries
	Blocked                  // the last attempt met a block, or the no-record is void
	Skipped                  // not requested by this run: collected before, or not in its list
	stateCount
)

// description is how a state is written and shown.
type description struct {
	// sign is one printable ASCII character that is no digit, and differs between states.
	sign byte
	name string
}

func descriptions() [stateCount]description {
	return [...]description{
		Unseen: {'U', "unseen"}, InFlight: {'I', "in flight"}, Success: {'S', "success"},
		NoRecord: {'N', "no-record"}, Unconfirmed: {'Q', "unconfirmed"}, Failed: {'F', "failed"},
		Blocked: {'B', "blocked"}, Skipped: {'K', "skipped"},
	}
}

// States returns all states in their order.
func States() []State {
	states := make([]State, stateCount)
	for i := range states {
		states[i] = State(i)
	}
	return states
}

// String returns the state's name, such as in flight.
func (s State) String() string { return descriptions()[min(s, stateCount-1)].name }

// class returns the state's name as a part of the name of a class, such as in-flight.
func (s State) class() string { return strings.ReplaceAll(s.String(), " ", "-") }

// Letter returns the capital letter that stands for the state in the JSON form and in images.
func (s State) Letter() string { return string(descriptions()[min(s, stateCount-1)].sign) }

// OfOutcome returns the state of a number with that outcome; Unseen without an outcome.
func OfOutcome(outcome contract.Outcome) State {
	switch outcome {
	case contract.Success:
		return Success
	case contract.NoRecord:
		return NoRecord
	case contract.Failed:
		return Failed
	default:
		return Unseen
	}
}

// Map is the state of each number of a range, in one byte. Its zero value has no numbers. It is not
// safe for concurrent use.
type Map struct {
	first  int
	states []State
}

// New returns a map in which all numbers are Unseen.
func New(numbers contract.Range) *Map {
	return &Map{first: numbers.Start, states: make([]State, numbers.Size())}
}

// Numbers returns the range of the map.
func (m *Map) Numbers() contract.Range {
	return contract.Range{Start: m.first, End: m.first + len(m.states) - 1}
}

// Set sets the state of a number. A number outside of the range is ignored.
func (m *Map) Set(number int, state State) {
	if m.Numbers().Contains(number) {
		m.states[number-m.first] = min(state, stateCount-1)
	}
}

// Get returns the state of a number; Skipped outside of the range.
func (m *Map) Get(number int) State {
	if !m.Numbers().Contains(number) {
		return Skipped
	}
	return m.states[number-m.first]
}

// Counts returns how many numbers have each state, indexed by state.
func (m *Map) Counts() []int {
	counts := make([]int, stateCount)
	for _, state := range m.states {
		counts[state]++
	}
	return counts
}

// Run is a stretch of neighbouring numbers of one state.
type Run struct {
	Numbers contract.Range
	State   State
}

// Runs yields the longest runs of the map in order.
func (m *Map) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for at := 0; at < len(m.states); {
			end := at + 1
			for end < len(m.states) && m.states[end] == m.states[at] {
				end++
			}
			run := Run{Numbers: contract.Range{Start: m.first + at, End: m.first + end - 1}, State: m.states[at]}
			if !yield(run) {
				return
			}
			at = end
		}
	}
}

// encoded is the JSON form.
type encoded struct {
	contract.Range
	States map[string]string `json:"states"`
	Counts map[string]int    `json:"counts"`
	Runs   string            `json:"runs"`
}

// MarshalJSON returns the JSON form:
//
//	{"start": 1, "end": 30000,
//	 "states": {"S": "success", "N": "no-record", "U": "unseen", ...},
//	 "counts": {"success": 121, "no-record": 1, "unseen": 29878, ...},
//	 "runs": "S120NSU29878"}
//
// runs is the run-length encoding of the states from start to end: a capital letter, then how many
// numbers in a row have that state, in decimal; no figure stands for one number. A map without
// numbers has an end below its start and empty runs. states and counts list every state, but skipped
// only if the map has it: a run without a list, on an empty store, has no such number.
func (m *Map) MarshalJSON() ([]byte, error) {
	form := encoded{Range: m.Numbers(), States: map[string]string{}, Counts: map[string]int{}}
	counts := m.Counts()
	for _, state := range States() {
		if state == Skipped && counts[state] == 0 {
			continue
		}
		form.States[state.Letter()] = state.String()
		form.Counts[state.String()] = counts[state]
	}
	var runs []byte
	for run := range m.Runs() {
		runs = append(runs, run.State.Letter()...)
		if size := run.Numbers.Size(); size > 1 {
			runs = strconv.AppendInt(runs, int64(size), 10)
		}
	}
	form.Runs = string(runs)
	return json.Marshal(form)
}

// UnmarshalJSON reads the JSON form. It ignores states and counts, and returns an error if runs has
// another letter, or another length than the range, or if the range is not of case numbers.
func (m *Map) UnmarshalJSON(data []byte) error {
	var form encoded
	if err := json.Unmarshal(data, &form); err != nil {
		return fmt.Errorf("map of numbers: %w", err)
	}
	size := form.Size()
	if err := errors.Join(contract.CheckNumber(form.Start), contract.CheckNumber(form.End)); err != nil && size > 0 {
		return fmt.Errorf("map of numbers: %w", err)
	}
	decoded := Map{first: form.Start, states: make([]State, 0, size)}
	for rest := form.Runs; rest != ""; {
		state := slices.IndexFunc(States(), func(s State) bool { return s.Letter() == rest[:1] })
		if state < 0 {
			return fmt.Errorf("map of numbers: runs: %.20q: allowed is a letter of a state", rest)
		}
		digits := len(rest) - 1 - len(strings.TrimLeft(rest[1:], "0123456789"))
		length := 1
		if digits > 0 {
			var err error
			if length, err = strconv.Atoi(rest[1 : 1+digits]); err != nil || length < 1 {
				return fmt.Errorf("map of numbers: runs: %.20q: allowed is a length of 1 to %d", rest, size)
			}
		}
		if length > size-len(decoded.states) {
			return fmt.Errorf("map of numbers: runs: more than the %d numbers from start to end", size)
		}
		decoded.states = append(decoded.states, slices.Repeat([]State{State(state)}, length)...)
		rest = rest[1+digits:]
	}
	if len(decoded.states) != size {
		return fmt.Errorf("map of numbers: runs: %d numbers: start to end are %d", len(decoded.states), size)
	}
	*m = decoded
	return nil
}

// CSS are the rules for SVG and Legend, for the style element of a page. Its colours are variables
// --numbermap-<state> and, for text on them with a contrast of at least 4.5, --numbermap-on-<state>, for
// light and dark. It has no comments, so that html/template leaves it as it is.
//
//go:embed style.css
var CSS string

// Columns returns how many numbers a row of the image has: few numbers get large cells.
func (m *Map) Columns() int {
	size := len(m.states)
	for _, c := range []struct{ upTo, columns int }{{500, 25}, {2000, 50}, {8000, 100}, {50_000, 200}} {
		if size <= c.upTo {
			return c.columns
		}
	}
	return 400
}

// maxLettered is the most numbers whose cells also show the letter of their state.
const maxLettered = 500

// SVG returns the map as one svg element of the class numbermap: a grid with one cell a number, row
// by row. The cells of a state are one path of the class numbermap-<state>. A map of up to 500
// numbers has the letter of the state in each cell. The element has a title and a description for
// screen readers, needs the rules of CSS, and has no script. 30,000 numbers take at most 300 KB.
//
// numbersName says which numbers these are, such as "IMM-1-25 to IMM-500-25". id is unique in the
// page.
func (m *Map) SVG(id, numbersName string) template.HTML {
	width := m.Columns()
	height := max(1, (len(m.states)+width-1)/width)
	class := "numbermap"
	if len(m.states) > maxLettered { // gaps between rows of a few pixels look like stripes
		class += " numbermap-dense"
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="%s" viewBox="0 0 %d %d" role="img" aria-labelledby="%s-t %s-d">`, class, width, height,
		html.EscapeString(id), html.EscapeString(id))
	fmt.Fprintf(&b, `<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, html.EscapeString(id),
		html.EscapeString("Map of the numbers "+numbersName), html.EscapeString(id), html.EscapeString(m.describe(width)))
	for state, path := range m.paths(width) {
		if path != "" {
			fmt.Fprintf(&b, `<path class="numbermap-%s" d="%s"/>`, state.class(), path)
		}
	}
	if len(m.states) <= maxLettered {
		m.writeLetters(&b, width)
	}
	b.WriteString("</svg>")
	//nolint:gosec // all texts are escaped above
	return template.HTML(b.String())
}

// paths yields the path of each state. A path is a stroke along the middle of the rows, which takes
// the fewest bytes; its moves are relative for the same reason.
func (m *Map) paths(width int) iter.Seq2[State, string] {
	var paths [stateCount][]byte
	var ends [stateCount]struct{ column, row int }
	for run := range m.Runs() {
		path, end := &paths[run.State], &ends[run.State]
		from, to := run.Numbers.Start-m.first, run.Numbers.End-m.first+1
		for from < to {
			row := from / width
			rowEnd := min(to, (row+1)*width)
			column := from % width
			if len(*path) == 0 {
				*path = fmt.Appendf(nil, "M%d %d.5", column, row)
			} else {
				*path = fmt.Appendf(*path, "m%d %d", column-end.column, row-end.row)
			}
			*path = fmt.Appendf(*path, "h%d", rowEnd-from)
			end.column, end.row = column+rowEnd-from, row
			from = rowEnd
		}
	}
	return func(yield func(State, string) bool) {
		for _, state := range States() {
			if !yield(state, string(paths[state])) {
				return
			}
		}
	}
}

// writeLetters writes the letters of the cells, one text element for each state of each row.
func (m *Map) writeLetters(b *strings.Builder, width int) {
	for row := 0; row*width < len(m.states); row++ {
		cells := m.states[row*width : min(len(m.states), (row+1)*width)]
		columnsOf := map[State][]string{}
		for column, state := range cells {
			columnsOf[state] = append(columnsOf[state], fmt.Sprintf("%d.5", column))
		}
		for _, state := range slices.Sorted(maps.Keys(columnsOf)) {
			places := columnsOf[state]
			fmt.Fprintf(b, `<text class="numbermap-on-%s" x="%s" y="%d.7">%s</text>`,
				state.class(), strings.Join(places, " "), row,
				strings.Repeat(state.Letter(), len(places)))
		}
	}
}

// describe says what the image shows, for those who cannot see it.
func (m *Map) describe(width int) string {
	if len(m.states) == 0 {
		return "No numbers."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "One cell a number, %d in a row, from number %d at the top left to %d.", width, m.first,
		m.Numbers().End)
	for state, count := range m.Counts() {
		if count > 0 {
			fmt.Fprintf(&b, " %s: %d.", State(state), count)
		}
	}
	return b.String()
}

// Legend returns the legend of the states that the map has, as a ul element of the class
// numbermap-legend: for each one its colour, letter, name and count.
func (m *Map) Legend() template.HTML {
	var b strings.Builder
	b.WriteString(`<ul class="numbermap-legend">`)
	for state, count := range m.Counts() {
		if count > 0 {
			s := State(state)
			fmt.Fprintf(&b, `<li><span class="numbermap-key numbermap-on-%s">%s</span> %s: %d</li>`,
				s.class(), s.Letter(), s, count)
		}
	}
	b.WriteString("</ul>")
	return template.HTML(b.String()) //nolint:gosec // it has no text from outside
}
