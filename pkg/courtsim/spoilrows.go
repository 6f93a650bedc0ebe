package courtsim

import (
	"maps"
	"slices"

	"fct-scraper/pkg/contract"
)

// longDocket is how many entries a docket has that is too long; its JSON is about 2 MB.
const longDocket = 2500

// rowKinds are right answers with rows too many, too few or wrongly counted.
func rowKinds() []faultKind {
	counted := func(name, about string, json func(rows int) any, page func(rows int) int) faultKind {
		kind := faultKind{name: name, about: about, changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) { a.Count = json(len(a.Data)) }}
		if page != nil {
			kind.changePage = func(_ *Simulator, _ contract.CaseID, v *view) {
				if v.Found != nil {
					v.Found.total = page(len(v.Found.all))
				}
			}
		}
		return kind
	}
	more, none := func(rows int) int { return rows + 3 }, func(int) int { return 0 }
	return []faultKind{
		{name: "prefix", about: "rows of the ten numbers that begin with this one before its own, if it has any", changeRows: prefixRows, changePage: prefixPage},
		{name: "duplicate", about: "every row twice", changeRows: duplicateRows, changePage: duplicatePage},
		{name: "divisions", about: "every row once more, in the other division", changeRows: divisionRows},
		{name: "long", about: "a docket of 2,500 entries", changeRows: longRows, changePage: longPage},
		{name: "rows-null", about: "null for the rows", changeRows: func(_ *Simulator, _ contract.CaseID, a *jsonRows) { a.Data = nil }},
		counted("count", "a count that is three too many", func(rows int) any { return more(rows) }, more),
		counted("count-zero", "a count of 0, whatever rows there are", func(int) any { return 0 }, none),
		counted("count-negative", "a count of -1", func(int) any { return -1 }, nil),
		counted("count-text", `a count that is a text`, func(int) any { return "1" }, nil),
	}
}

// prefixMatches are the ten numbers that begin with one; fewer when they are too high to be numbers.
func prefixMatches(id contract.CaseID) (ids []contract.CaseID) {
	for n := id.Number * 10; id.Number > 0 && n <= min(id.Number*10+9, contract.MaxNumber); n++ {
		ids = append(ids, id.WithNumber(n))
	}
	return ids
}

func prefixRows(c *Simulator, id contract.CaseID, a *jsonRows) {
	if a.call == partiesCall || a.call == relatedCall { // their rows do not say whose they are
		return
	}
	var longer []map[string]any
	for _, other := range prefixMatches(id) {
		text, of := []byte(`{"data":[`), c.newFile(other)
		if a.call == docketCall {
			text = appendEntryRow(text, of, &c.newDocket(of)[0], true)
		} else {
			text = appendHeaderRow(text, of, true, a.call == fullerCall)
		}
		if more, err := parseRows(append(text, `]}`...), a.call); err == nil {
			longer = append(longer, more.Data...)
		}
	}
	a.Data = append(longer, a.Data...)
	a.updateCount()
}

func prefixPage(c *Simulator, id contract.CaseID, v *view) {
	if v.Found == nil {
		return
	}
	var longer []searchRow
	for _, other := range prefixMatches(id) {
		longer = append(longer, c.searchRow(v.L, other))
	}
	v.Found.all = append(longer, v.Found.all...)
	v.Found.total = len(v.Found.all)
}

func duplicateRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	a.Data = duplicate(a.Data)
	a.updateCount()
}

func duplicatePage(_ *Simulator, _ contract.CaseID, v *view) {
	switch {
	case v.Found != nil:
		v.Found.all = duplicate(v.Found.all)
		v.Found.total = len(v.Found.all)
	case v.Entries != nil:
		v.Entries.Rows = duplicate(v.Entries.Rows)
	case v.Parties != nil:
		v.Parties.Rows = duplicate(v.Parties.Rows)
	}
}

func duplicate[T any](rows []T) []T {
	twice := make([]T, 0, 2*len(rows))
	for _, row := range rows {
		twice = append(twice, row, row)
	}
	return twice
}

func divisionRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	for _, row := range slices.Clone(a.Data) {
		other := maps.Clone(row)
		for _, name := range []string{"DIVISION", "Division"} {
			if division, has := other[name]; has {
				other[name] = map[any]string{"T": "A", "A": "T"}[division]
			}
		}
		a.Data = append(a.Data, other)
	}
	a.updateCount()
}

func longRows(_ *Simulator, _ contract.CaseID, a *jsonRows) {
	if a.call != docketCall || len(a.Data) == 0 {
		return
	}
	for n := len(a.Data); n < longDocket; n++ {
		row := maps.Clone(a.Data[n%len(a.Data)])
		row["RE_NO"] = n + 1
		a.Data = append(a.Data, row)
	}
	a.updateCount()
}

func longPage(_ *Simulator, _ contract.CaseID, v *view) {
	if v.Entries == nil || len(v.Entries.Rows) == 0 {
		return
	}
	for n := len(v.Entries.Rows); n < longDocket; n++ {
		row := v.Entries.Rows[n%len(v.Entries.Rows)]
		row.ID = n + 1
		v.Entries.Rows = append(v.Entries.Rows, row)
	}
}
