package analysis

import (
	"math"
	"strconv"
	"strings"
)

// Table is the numbers of a chart: a CSV file, and a table of the page.
type Table struct {
	// File is the name of the CSV file.
	File    string
	Caption string
	Columns []Column
	Rows    [][]Cell
	// short selects the rows that the page shows; nil is all. The file always has all.
	short func(row []Cell) bool
}

// Column is one column of a table.
type Column struct {
	// Name is that of the CSV file, Title that of the page.
	Name, Title string
	Form        form
}

// form says how the numbers of a column are written.
type form int

const (
	asText form = iota
	asCount
	asShare // 0 to 1; the page shows percent
	asDays
)

// Cell is a text or a number. A number that is not defined is NaN.
type Cell struct {
	Text   string
	Number float64
}

func text(s string) Cell    { return Cell{Text: s} }
func count(n int) Cell      { return Cell{Number: float64(n)} }
func number(x float64) Cell { return Cell{Number: x} }

// IsNumber reports whether the cells of the column are numbers.
func (c Column) IsNumber() bool { return c.Form != asText }

// CSV returns the table in the form of RFC 4180. A number that is not defined is an empty field, a
// share is a number from 0 to 1. A text that a spreadsheet would take for a formula gets a single
// quote before it.
func (t *Table) CSV() []byte {
	var b strings.Builder
	for i, c := range t.Columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name)
	}
	b.WriteString("\r\n")
	for _, row := range t.Rows {
		for i, c := range t.Columns {
			if i > 0 {
				b.WriteByte(',')
			}
			if c.IsNumber() {
				b.WriteString(plainNumber(row[i].Number, c.Form))
			} else {
				b.WriteString(field(row[i].Text))
			}
		}
		b.WriteString("\r\n")
	}
	return []byte(b.String())
}

func plainNumber(x float64, f form) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return ""
	}
	if f == asShare {
		return strconv.FormatFloat(x, 'f', 6, 64)
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

func field(text string) string {
	if bare := strings.TrimLeft(text, "'"); bare != "" && strings.IndexByte("=+-@", bare[0]) >= 0 {
		text = "'" + text
	}
	if strings.ContainsAny(text, "\",\r\n") || text != strings.TrimSpace(text) {
		return `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
	}
	return text
}

// Shown returns the rows of the page as texts.
func (t *Table) Shown() [][]string {
	var rows [][]string
	for _, row := range t.Rows {
		if t.short != nil && !t.short(row) {
			continue
		}
		texts := make([]string, len(row))
		for i, c := range t.Columns {
			texts[i] = row[i].Text
			if c.IsNumber() {
				texts[i] = shownNumber(row[i].Number, c.Form)
			}
		}
		rows = append(rows, texts)
	}
	return rows
}

// IsShort reports whether the page leaves rows out.
func (t *Table) IsShort() bool { return len(t.Shown()) < len(t.Rows) }

func shownNumber(x float64, f form) string {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return "–"
	case f == asShare:
		return percent(x)
	case f == asDays:
		return days(x)
	}
	return grouped(int(math.Round(x)))
}

// percent writes a share with one decimal.
func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + "%" }

// days writes a number of days with at most one decimal.
func days(x float64) string {
	whole := math.Round(10*x) / 10
	if whole == math.Trunc(whole) {
		return grouped(int(whole))
	}
	return strconv.FormatFloat(whole, 'f', 1, 64)
}

// grouped writes a number with commas between the thousands.
func grouped(n int) string {
	if n < 0 {
		return "−" + grouped(-n)
	}
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
