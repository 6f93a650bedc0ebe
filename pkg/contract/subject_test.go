package contract_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"

	"pgregory.net/rapid"
)

// TestParseRunID_Form compares with the expression that errors name.
func TestParseRunID_Form(t *testing.T) {
	t.Parallel()
	_, err := contract.ParseRunID("")
	_, form, _ := strings.Cut(err.Error(), "allowed is ")
	allowed := regexp.MustCompile(form)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-cz0-9-]{0,64}[-a-z0-9A/.\x60{: \n]?`).Draw(t, "text")
		if _, err := contract.ParseRunID(text); (err == nil) != allowed.MatchString(text) {
			t.Errorf("%q: %v, and %s matches: %t", text, err, form, allowed.MatchString(text))
		}
	})
}

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
