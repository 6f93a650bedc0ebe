package sanitize_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"fct-scraper/pkg/sanitize"

	"pgregory.net/rapid"
)

func TestLine_EscapesControls(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                           "",
		"Élise Tremblay c. MCI — 日本": "Élise Tremblay c. MCI — 日本",
		"\x1b[31mred\x1b[0m":         `\u001b[31mred\u001b[0m`,
		"one\ntwo\r\nthree\tfour":    `one\ntwo\r\nthree\tfour`,
		"nul\x00del\x7f":             `nul\u0000del\u007f`,
		"csi\u009b2J":                `csi\u009b2J`,
		"\u202egnp.exe\u2066x\u2069": `\u202egnp.exe\u2066x\u2069`,
		"a\u2028b\u2029c\u061cd":     `a\u2028b\u2029c\u061cd`,
		"bad\xff\x9b":                `bad\xff\x9b`,
		"written \ufffd out":         "written \ufffd out",
		`\x1b stays`:                 `\x1b stays`,
	} {
		if got := sanitize.Line(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := sanitize.Lines("a\n\tb\r\x1b"); got != "a\n\tb\\r\\u001b" {
		t.Errorf("%q", got)
	}
}

func TestTruncate_CountsCharacters(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "plain é": "plain é", "123456789é": "123456789é", "12345678901": "1234567890", "ééééééééééé": "éééééééééé",
		"\x1b[31m45678901": `\u001b[31m45678`, "\xff\xff34567890\xff": `\xff\xff34567890`,
	} {
		if got := sanitize.Truncate(text, 10); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// controls are the characters that must not get through, whatever they stand in.
func controls() []rune {
	var all []rune
	for _, span := range [][2]rune{{0, 0x1f}, {0x7f, 0x9f}, {0x202a, 0x202e}, {0x2066, 0x2069}, {0x2028, 0x2029}} {
		for r := span[0]; r <= span[1]; r++ {
			all = append(all, r)
		}
	}
	return all
}

func TestLine_AnyText(t *testing.T) {
	t.Parallel()
	parts := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom(controls())), rapid.SampledFrom([]string{"\xff", "\xe2\x80", "\x1b]0;x\x07"}))
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(parts).Draw(t, "text"), "")
		shown := sanitize.Line(text)
		if !utf8.ValidString(shown) || strings.ContainsAny(shown, string(controls())) {
			t.Fatalf("%q became %q", text, shown)
		}
		if sanitize.Line(shown) != shown {
			t.Fatalf("shown twice %q is not what shown once is", shown)
		}
	})
}

func TestJSON_SameMeaning(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom(controls()))).Draw(t, "value")
		document, err := json.MarshalIndent(map[string]string{value: value}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		shown := sanitize.JSON(document)
		if lines := strings.NewReplacer("\n", "", "\t", "").Replace(string(shown)); strings.ContainsAny(lines, string(controls())) {
			t.Fatalf("%q became %q", value, shown)
		}
		var before, after map[string]string
		if err := json.Unmarshal(document, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(shown, &after); err != nil {
			t.Fatal(err)
		}
		for key := range before {
			if after[key] != before[key] {
				t.Fatalf("%q became %q", before, after)
			}
		}
	})
}

func TestMask_Secrets(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nats://operator:s3cret@broker:4222":                                            "nats://***@broker:4222",
		"nats://t0ken@a:4222,nats://u:p@b:4222":                                         "nats://***@a:4222,nats://***@b:4222",
		`dial "tls://u:p@ss@host": refused`:                                             `dial "tls://***@host": refused`,
		`{"a":"nats://u:p\u0026q@h"}`:                                                   `{"a":"nats://***@h"}`,
		`{"a":"https://court.test","b":"me@x"}`:                                         `{"a":"https://court.test","b":"me@x"}`,
		"https://court.test/cases?by=clerk@court.test":                                  "https://court.test/cases?by=clerk@court.test",
		"open SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY: no such file": "open ***: no such file",
		"S" + strings.Repeat("U", 57) + " " + strings.Repeat("A", 100):                  "*** " + strings.Repeat("A", 100),
		strings.Repeat("x", 57) + " S" + strings.Repeat("C", 57):                        strings.Repeat("x", 57) + " ***",
		"S" + strings.Repeat("A", 56):                                                   "S" + strings.Repeat("A", 56),
		"mail clerk@court.test":                                                         "mail clerk@court.test",
	} {
		if got := sanitize.Mask(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// BenchmarkLine is what a log line of usual length costs more; a batch writes two of them a number.
func BenchmarkLine(b *testing.B) {
	line := []byte(`{"time":"2026-11-25T14:29:39.727Z","level":"INFO","msg":"batch.job.end","run_id":"imm-25-20261125t142905z-1-a25urd","case_id":"IMM-1-25","outcome":"success","attempts":1,"duration_seconds":0.25}`)
	for b.Loop() {
		if got := sanitize.Mask(string(sanitize.JSON(line))); len(got) != len(line) {
			b.Fatal(got)
		}
	}
}

func TestPlural(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"0 retries": sanitize.Plural(0, "retry"), "1 retry": sanitize.Plural(1, "retry"), "2 retries": sanitize.Plural(2, "retry"), "1 attempt": sanitize.Plural(1, "attempt"),
		"12 attempts": sanitize.Plural(12, "attempt"),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
