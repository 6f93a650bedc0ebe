package config

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"pgregory.net/rapid"
)

// FuzzKeyLine holds the lines against the decoder: what stands above a key's line is whole TOML
// without the key.
func FuzzKeyLine(f *testing.F) {
	for _, seed := range []string{"a = 1\nb = 2", "[t]\nx = 1\n[x]", "s = '''\na = 1\n'''\nb=3", `"q" = 1`, "a.b = 1\na.c = 2", "# c = 1\n\n=x",
		"a = 1 # \"\"\"\nb = 2", "a = [\n'b = 1', # ]\n]\nb = \"\\\"\"", "\"\"\"\"=1", "[[a.b]]\nc = {d = \"}\"}\n[[a.b]]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := decoded(text)
		if err != nil {
			return
		}
		rows := slices.Collect(strings.Lines(text))
		for key := range values {
			n := keyLine(text, key)
			if n < 1 || n > len(rows) {
				t.Fatalf("%q stands on line %d of %d in %q", key, n, len(rows), text)
			}
			above, err := decoded(strings.Join(rows[:n-1], ""))
			if _, early := above[key]; err != nil || early {
				t.Fatalf("%q is reported on line %d of %q: above it, %v (%v)", key, n, text, above, err)
			}
		}
	})
}

func decoded(text string) (values map[string]any, err error) {
	_, err = toml.Decode(text, &values)
	return values, err
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"300", "90s", "5m", "250ms", "0.5", "", "-1", "1e9", ".", "9999999999h", "1h1m1s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 || d > maxDuration {
			t.Errorf("%q gives %v", text, d)
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
			t.Errorf("%v reads back as %v: %v", d, again, err)
		}
	})
}

func FuzzBytes(f *testing.F) {
	for _, seed := range []string{"16MiB", "0", "500kB", "1 GiB", "9223372036854775807", "9999999999GiB", "", "MiB", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b, again Bytes
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(b.String())); b < 0 || err != nil || again != b {
			t.Errorf("%q gives %d, which reads back as %d: %v", text, b, again, err)
		}
	})
}

func TestDuration_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(maxDuration)).Draw(t, "duration"))
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%v reads back as %v: %v", d, again, err)
		}
	})
	for text, want := range map[string]time.Duration{"300": 5 * time.Minute, "0.25": 250 * time.Millisecond, "1m30s": 90 * time.Second} {
		if d, err := ParseDuration(text); err != nil || d != want {
			t.Errorf("%q gives %v: %v", text, d, err)
		}
	}
}
