package contract_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"

	"pgregory.net/rapid"
)

func TestParseCaseID_NotCanonical(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "IMM", "IMM-1", "IMM-1-2", "IMM-1-2025", "imm-1-25", "IMM-01-25", "IMM-0-25", "IMM-100000-25",
		"IMM--1-25", "IMM-+1-25", "IMM-1-2x", "IMMIGR-1-25", "-1-25", "IMM-1-25-", " IMM-1-25", "IMM-1-25\n",
		"IMM-1.-25", "I*M-1-25", "I>M-1-25", "../-1-25", "IMM-١-25", "IMM-1-٢٥", "ÉMM-1-25", strings.Repeat("A", 100),
	} {
		if id, err := contract.ParseCaseID(text); !errors.Is(err, contract.ErrCaseID) {
			t.Errorf("ParseCaseID(%q) = %v, %v; want ErrCaseID", text, id, err)
		}
	}
}

func validCaseID(t *rapid.T) contract.CaseID {
	id, err := contract.NewCaseID(
		rapid.StringMatching(`[A-Z]{1,5}`).Draw(t, "series"),
		rapid.IntRange(1, contract.MaxNumber).Draw(t, "number"),
		rapid.StringMatching(`[0-9]{2}`).Draw(t, "year"))
	if err != nil {
		t.Fatalf("NewCaseID: %v", err)
	}
	return id
}

func TestCaseID_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := validCaseID(t)
		if back, err := contract.ParseCaseID(id.String()); err != nil || back != id {
			t.Fatalf("ParseCaseID(%q) = %v, %v", id, back, err)
		}
		if back, err := contract.ParseKey(id.Key()); err != nil || back != id {
			t.Fatalf("ParseKey(%q) = %v, %v", id.Key(), back, err)
		}
		text, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		var back contract.CaseID
		if err := json.Unmarshal(text, &back); err != nil || back != id {
			t.Fatalf("json %s = %v, %v", text, back, err)
		}
	})
}

func TestCaseIDCompare(t *testing.T) {
	t.Parallel()
	sorted := []string{"A-2-24", "A-10-24", "A-1-25", "IMM-9-25", "IMM-10-25", "T-1-01"}
	for i, a := range sorted {
		for j, b := range sorted {
			idA, errA := contract.ParseCaseID(a)
			idB, errB := contract.ParseCaseID(b)
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			if got := idA.Compare(idB); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s.Compare(%s) = %d", a, b, got)
			}
		}
	}
}

func TestCaseIDMarshal_Invalid(t *testing.T) {
	t.Parallel()
	for _, id := range []contract.CaseID{{}, {Series: "I.M", Year: "25", Number: 1}, {Series: "IMM", Year: "2*", Number: 1}} {
		if text, err := json.Marshal(id); err == nil {
			t.Errorf("%#v was written as %s", id, text)
		}
	}
}

func TestRangeSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		r    contract.Range
		size int
	}{{contract.Range{Start: 30, End: 60}, 31}, {contract.Range{Start: 5, End: 5}, 1}, {contract.Range{Start: 5, End: 4}, 0}, {contract.Range{Start: 9, End: 1}, 0}} {
		if got := c.r.Size(); got != c.size {
			t.Errorf("%v.Size() = %d, want %d", c.r, got, c.size)
		}
		if got := c.r.Contains(c.r.Start); got != (c.size > 0) {
			t.Errorf("%v.Contains(%d) = %t", c.r, c.r.Start, got)
		}
	}
}

func FuzzParseCaseID(f *testing.F) {
	for _, seed := range []string{"IMM-231-25", "T-1-00", "A-99999-99", "IMM-0001-25", "--", "IMM-1-25 "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := contract.ParseCaseID(text)
		if err != nil {
			return
		}
		if id.String() != text {
			t.Errorf("%q was read as %q", text, id)
		}
	})
}

func TestParseYear(t *testing.T) {
	for text, want := range map[string]string{"25": "25", "2025": "25", "2099": "99", "1999": "", "125": "", "2x": "", "": "", "20": "20"} {
		got, err := contract.ParseYear(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q and %v, want %q", text, got, err, want)
		}
	}
}
