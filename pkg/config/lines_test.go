package config_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/config"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// good draws good flags for some of the settings.
func good(t *rapid.T) map[string]string {
	pause := rapid.Custom(func(t *rapid.T) string {
		return config.FormatDuration(time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "pause")))
	})
	number := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(1, 99999).Draw(t, "number")) })
	all := map[string]*rapid.Generator[string]{
		"prefix": rapid.StringMatching(`[A-Z]{1,5}`), "year": rapid.StringMatching(`[0-9]{2}`), "max_cases": number, "end": number,
		"probe": rapid.SampledFrom([]string{"true", "false"}), "delay_min": rapid.Just("0"), "delay_max": pause, "rest_for": pause,
		"backoff_factor": rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.Float64Range(1, 10).Draw(t, "factor")) }),
		"max_body":       rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.Int64Range(1<<10, 1<<30).Draw(t, "size")) }),
		"contact":        rapid.StringMatching(`[ -~]{0,100}`), "user_agent": rapid.StringMatching(`[ -~]{1,200}`),
		"output": rapid.StringMatching(`[^\pC]{1,30}`), "log_level": rapid.SampledFrom([]string{"debug", "warn"}),
	}
	flags := make(map[string]string)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if rapid.Bool().Draw(t, key+" given") {
			flags[key] = all[key].Draw(t, key)
		}
	}
	if flags["delay_max"] != "" {
		flags["delay_min"] = "0"
	}
	return flags
}

func TestLines_ReadBackAsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.toml")
	rapid.Check(t, func(t *rapid.T) {
		s, err := config.Load(config.Sources{Flags: good(t), Now: day, Version: "1"})
		if err != nil {
			t.Fatal(err)
		}
		var file strings.Builder
		for _, line := range s.Lines() {
			fmt.Fprintf(&file, "%s = %s\n", line.Key, line.Value)
		}
		if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := config.Load(config.Sources{File: path, Now: day, Version: "2"})
		if err != nil {
			t.Fatalf("%v in\n%s", err, file.String())
		}
		if diff := cmp.Diff(s.Config, again.Config); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestEffective_AllKeysAsJSON(t *testing.T) {
	t.Parallel()
	s, err := config.Load(config.Sources{Now: day, Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	all := s.Effective()
	if _, err := json.Marshal(all); err != nil || len(all) != len(config.Keys()) {
		t.Errorf("%d settings of %d: %v", len(all), len(config.Keys()), err)
	}
	for key, want := range map[string]any{"end": nil, "job_timeout": "5m", "concurrency": 4, "max_body": "16MiB", "probe": true, "backoff_factor": 2.0} {
		if got, there := all[key]; got != want || !there {
			t.Errorf("%s = %v, want %v", key, got, want)
		}
	}
}
