package contract_test

import (
	"encoding/json"
	"slices"
	"testing"

	"fct-scraper/pkg/contract"

	"pgregory.net/rapid"
)

// listed returns the list of the cases IMM-<n>-25.
func listed(numbers ...int) contract.CaseList {
	var lists contract.CaseLists
	for _, n := range numbers {
		lists.Add(contract.CaseID{Series: "IMM", Year: "25", Number: n})
	}
	if len(numbers) == 0 {
		return contract.CaseList{}
	}
	return lists.Lists()[0]
}

func TestCaseList_Elements(t *testing.T) {
	t.Parallel()
	for want, numbers := range map[string][]int{
		`["IMM-231-25"]`:                          {231},
		`["IMM-1-25..IMM-3-25","IMM-99999-25"]`:   {3, 1, 99999, 2, 1},
		`["IMM-7-25..IMM-8-25","IMM-10-25"]`:      {7, 8, 10},
		`["IMM-8-25..IMM-17-25"]`:                 {8, 9, 10, 11, 12, 13, 14, 15, 16, 17},
		`["IMM-1-25","IMM-3-25","IMM-99998-25"]`:  {1, 3, 99998},
		`["IMM-15-25..IMM-16-25","IMM-99999-25"]`: {15, 16, 99999},
	} {
		got, err := json.Marshal(listed(numbers...))
		if err != nil || string(got) != want {
			t.Errorf("%v: %s, %v; want %s", numbers, got, err, want)
		}
	}
}

// A list is what it is made of, and its JSON form gives it back.
func TestCaseList_Set(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.SliceOfN(rapid.IntRange(1, contract.MaxNumber), 1, 40).Draw(t, "numbers")
		if rapid.Bool().Draw(t, "dense") { // its form is a bitmap
			for n := rapid.IntRange(1, 50000).Draw(t, "from"); n < contract.MaxNumber; n += 2 {
				numbers = append(numbers, n)
			}
		}
		list := listed(numbers...)
		want := slices.Compact(slices.Sorted(slices.Values(numbers)))
		if got := slices.Collect(list.Numbers()); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		if list.Size() != len(want) || list.Range() != (contract.Range{Start: want[0], End: want[len(want)-1]}) {
			t.Fatalf("%d in %v, want %d in %d..%d", list.Size(), list.Range(), len(want), want[0], want[len(want)-1])
		}
		text, err := json.Marshal(list)
		var again contract.CaseList
		if err == nil {
			err = json.Unmarshal(text, &again)
		}
		if err != nil || again != list || len(text) > 17<<10 {
			t.Fatalf("%d bytes: %v, another list", len(text), err)
		}
	})
}

func TestCaseLists_SeveralYears(t *testing.T) {
	t.Parallel()
	var lists contract.CaseLists
	for _, c := range []struct {
		id    contract.CaseID
		added bool
	}{
		{contract.CaseID{Series: "T", Year: "24", Number: 9}, true},
		{contract.CaseID{Series: "IMM", Year: "25", Number: 1}, true},
		{contract.CaseID{Series: "T", Year: "24", Number: 9}, false},
		{contract.CaseID{Series: "IMM", Year: "24", Number: 1}, true},
	} {
		if lists.Add(c.id) != c.added {
			t.Errorf("%s: added %t", c.id, !c.added)
		}
	}
	var got []string
	for _, list := range lists.Lists() {
		got = append(got, list.Elements()...)
	}
	if want := []string{"IMM-1-24", "IMM-1-25", "T-9-24"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The list is part of what a batch is: its order and form are not, the listed cases are.
func TestIdentity_List(t *testing.T) {
	t.Parallel()
	batch := contract.Batch{Prefix: "IMM", Year: "25", Start: 1}
	of := func(numbers ...int) string { return batch.WithIDs(listed(numbers...)).Identity("sim") }
	if of(3, 1, 2, 9) != of(9, 1, 2, 3, 1) {
		t.Error("the order of the list matters")
	}
	others := map[string]bool{of(1, 2, 9): true, of(1, 3, 9): true, of(1, 9): true}
	whole := batch
	whole.End = 9
	others[whole.Identity("sim")] = true
	if len(others) != 4 {
		t.Error("two lists, or a list and its range, are the same batch")
	}
}
