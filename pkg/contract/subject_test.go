package contract_test

import (
	"bytes"
	"testing"

	"fct-scraper/pkg/contract"
)

func TestParseRunID(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "-a", "A", "a.b", "a*", "a>", "a b", "a/b", "..", "a\n", string(bytes.Repeat([]byte("a"), 64))} {
		if id, err := contract.ParseRunID(bad); err == nil {
			t.Errorf("ParseRunID(%q) = %q", bad, id)
		}
	}
	id, err := contract.ParseRunID("imm-25-1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := id.JobSubject(231), "job.imm-25-1.231"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := id.OutcomeSubject(contract.Chunk(256)), "outcome.imm-25-1.1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
