package config

import (
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"pgregory.net/rapid"
)

func FuzzKeyLines(f *testing.F) {
	for _, seed := range []string{"a = 1\nb = 2", "[t]\nx = 1", "s = '''\na = 1\n'''\nb=3", `"q" = 1`, "a.b = 1", "# c = 1\n\n=x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines := keyLines([]byte(text))
		count := strings.Count(text, "\n") + 1
		for key, n := range lines {
			if n < 1 || n > count {
				t.Errorf("%q stands on line %d of %d", key, n, count)
			}
		}
		var values map[string]any
		if _, err := toml.Decode(text, &values); err != nil {
			return
		}
		for key, value := range values {
			if _, simple := value.(int64); simple && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") == "" && key != "" && lines[key] == 0 {
				t.Errorf("%q was not found in %q", key, text)
			}
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"300", "90s", "5m", "250ms", "0.5", "", "-1", "1e9", ".", "9999999999h", "1h1m1s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var d, again Duration
		if d.UnmarshalText([]byte(text)) != nil {
			return
		}
		if d < 0 || d.Std() > maxDuration {
			t.Errorf("%q gives %v", text, d)
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
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

func TestDurationsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Duration(rapid.Int64Range(0, int64(maxDuration)).Draw(t, "duration"))
		var again Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Fatalf("%v reads back as %v: %v", d, again, err)
		}
	})
	for text, want := range map[string]time.Duration{"300": 5 * time.Minute, "0.25": 250 * time.Millisecond, "1m30s": 90 * time.Second} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q gives %v: %v", text, d, err)
		}
	}
}
