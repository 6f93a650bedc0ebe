package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
)

// Another court is refused at the start, before its first request, by the store and by the folder alone.
func TestOutput_TwoSitesRefused(t *testing.T) {
	t.Parallel()
	p := newFixture(t, courtsim.Options{Seed: 3, Max: 5}, map[string]string{"end": "5"})
	if report := p.report(nil); report.Succeeded != 5 {
		t.Fatalf("%d succeeded", report.Succeeded)
	}
	const other = "https://www.court.test"
	before := p.memory.requests()
	for name, folders := range map[string][2]string{
		"both":   {p.settings["data_dir"], p.settings["output"]},
		"folder": {filepath.Join(t.TempDir(), "data"), p.settings["output"]},
		"store":  {p.settings["data_dir"], filepath.Join(t.TempDir(), "output")},
	} {
		_, err := p.process(map[string]string{"base_url": other, "contact": "me@court.test", "data_dir": folders[0], "output": folders[1]}).
			Batch(t.Context(), BatchOptions{Stop: never{}, Follow: unseen})
		if !IsUsageError(err) || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), "http://127.0.0.1:1") {
			t.Errorf("%s: %v; want a refusal that names both", name, err)
		}
	}
	if requests := p.memory.requests(); requests != before {
		t.Errorf("%d requests to another court", requests-before)
	}
	run, err := p.run(t.Context(), map[string]string{"base_url": "http://localhost:2"})
	if err != nil || run.Status != contract.Completed || run.Report.Skipped != 5 {
		t.Errorf("the simulator on another port: %s, %+v, %v", run.Status, run.Report, err)
	}
}

func TestOutput_RecordsOfFolder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, text, want string }{
		"none":                   {"cases/IMM/25/.fct-tmp-1", "{}", ""},
		"a record":               {"cases/IMM/25/IMM-1-25.json", `{"source":"https://www.court.test/a?b=c"}`, "https://www.court.test"},
		"without a source":       {"cases/IMM/25/IMM-1-25.json", `{"source":""}`, ""},
		"no record":              {"cases/IMM/25/IMM-1-25.json", `[`, ""},
		"no folder":              {"cases", "", ""},
		"a folder, not a record": {"cases/IMM/25/IMM-1-25.json/x.json", "{}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, filepath.FromSlash(c.file))
			if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := recordedOrigin(filepath.Join(dir, "cases")); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
