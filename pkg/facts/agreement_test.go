package facts_test

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
)

// leastAgreement is the least share of coded entries with which the rules must agree.
const leastAgreement = 0.97

// TestAgreementWithCoders prints how far the built-in rules agree with entries that people coded,
// with a confusion table and every disagreement. FCT_FACTS_CODED names a file of lines "task, label,
// text", separated by tabs; the tasks are judge, outcome, motion and notice. Without it there is
// nothing to compare: such texts are not part of the project. People code about two entries in a
// hundred differently, so it fails only below leastAgreement.
func TestAgreementWithCoders(t *testing.T) {
	t.Parallel()
	path := os.Getenv("FCT_FACTS_CODED")
	if path == "" {
		t.Log("FCT_FACTS_CODED is not set: nothing is compared")
		return
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	reader := load(t).NewReader()
	tables := map[string]map[[2]string]int{}
	var out strings.Builder
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		columns := strings.SplitN(lines.Text(), "\t", 3)
		if len(columns) != 3 || columns[0] == "task" {
			continue
		}
		task, label, text := columns[0], columns[1], columns[2]
		entry := reader.Of(recordOf(text)).EntryFacts[0]
		got := labelOf(task, entry)
		if tables[task] == nil {
			tables[task] = map[[2]string]int{}
		}
		cell := [2]string{label, got}
		if task == "judge" { // one row a judge tells nothing
			cell = [2]string{class(label), class(got)}
			if label != got && cell[0] == cell[1] {
				cell[1] = "another name"
			}
		}
		tables[task][cell]++
		if label != got {
			fmt.Fprintf(&out, "%s: coded %q, rules %q by %v\n    %s\n", task, label, got, entry.Rules, text)
		}
	}
	for _, task := range slices.Sorted(maps.Keys(tables)) {
		agreed, all := 0, 0
		for cell, n := range tables[task] {
			all += n
			if cell[0] == cell[1] {
				agreed += n
			}
		}
		fmt.Fprintf(&out, "\n%s: %d of %d agree, %.2f %%\n", task, agreed, all, 100*float64(agreed)/float64(all))
		for _, cell := range slices.SortedFunc(maps.Keys(tables[task]), func(a, b [2]string) int {
			return strings.Compare(strings.Join(a[:], "\t"), strings.Join(b[:], "\t"))
		}) {
			fmt.Fprintf(&out, "    coded %-16s rules %-16s %4d\n", cell[0], cell[1], tables[task][cell])
		}
		if float64(agreed) < leastAgreement*float64(all) {
			t.Errorf("%s: %d of %d agree, want at least %.0f %%", task, agreed, all, 100*leastAgreement)
		}
	}
	t.Log(out.String())
}

func class(name string) string {
	if name == "other" {
		return name
	}
	return "a name"
}

// labelOf returns the facts of an entry in the words of the coders.
func labelOf(task string, e *facts.Entry) string {
	stay := slices.Contains(e.About, facts.AboutStayOfRemoval)
	switch task {
	case "judge":
		if e.Judge != nil {
			return *e.Judge
		}
	case "outcome":
		if e.Outcome != nil {
			return *e.Outcome
		}
	case "motion":
		if e.Motion != nil {
			return fmt.Sprintf("motion %d", *e.Motion)
		}
		if stay {
			return "stay of removal"
		}
	case "notice":
		if stay && e.Kind == facts.KindMotion {
			return "stay of removal"
		}
	}
	return "other"
}

func load(t testing.TB) *facts.Rules {
	t.Helper()
	rules, err := facts.Load("federal-court")
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// recordOf returns the record of a case with these entries.
func recordOf(texts ...string) *contract.Record {
	r := &contract.Record{CaseID: contract.CaseID{Series: "IMM", Number: 7, Year: "21"}}
	for i, text := range texts {
		r.Docket = append(r.Docket, contract.DocketEntry{EntryNumber: i + 1, Text: text})
	}
	return r
}
