//go:build browser

package files

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// stoppedRun is the page of a run of so many numbers that was stopped, with hostile texts in it.
func stoppedRun(t *testing.T, size int) string {
	t.Helper()
	s := largeRun(t, size)
	s.Manifest.Range.End += size / 10
	s.Manifest.Config = map[string]any{"site": hostile()[0]}
	s.Status, s.Reason = contract.Stopped, strings.Join(hostile(), " ")
	r := s.Report()
	r.Remaining, r.NextCommand = size/10, "fct-scraper batch 25 --config "+strings.Repeat("a-long-name/", 12)+"config.toml"
	r.Flags = map[string]int{contract.FlagHeaderOnly: size / 2, strings.Repeat("a-long-flag-", 9): 1}
	content, err := newPage(s, r, "report-20260301T133000Z.json", func(string) bool { return true })
	var data []byte
	if err == nil {
		data, err = render(content)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestBrowser_Report opens the page from the file system on a phone and a desk, light and dark:
// names, headings and contrast are right, nothing is wider than the window, no script runs and the
// policy forbids nothing that the page needs.
func TestBrowser_Report(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "..", "fct-scraper", "dashboard", "testdata", "accessible.js"))
	if err != nil {
		t.Fatal(err)
	}
	b := fcttest.OpenBrowser(t)
	for _, size := range []int{1, 300, 30_000} {
		file := stoppedRun(t, size)
		for _, width := range []int{390, 1280} {
			for _, dark := range []bool{false, true} {
				b.Resize(width, 900, 1, dark)
				b.Open("file://" + file)
				b.Await("document.readyState === 'complete' && document.querySelector('.numbermap')")
				b.Eval("document.querySelectorAll('details').forEach(d => { d.open = true })", nil)
				var found []string
				b.Eval(string(script), &found)
				for _, problem := range found {
					t.Errorf("%d numbers, %d px, dark %t: %s", size, width, dark, problem)
				}
				var fills []string
				b.Eval(`['.numbermap-success', '.numbermap-unseen'].map(c => getComputedStyle(document.querySelector(c) || document.body).stroke)`, &fills)
				if size > 1 && (fills[0] == "none" || fills[0] == fills[1]) {
					t.Errorf("%d numbers, dark %t: the map has the colours %v", size, dark, fills)
				}
			}
		}
	}
	for _, line := range b.Console() {
		t.Errorf("console: %.500s", line)
	}
}

func TestBrowser_ReportPrints(t *testing.T) {
	file := stoppedRun(t, 300)
	pdf := filepath.Join(t.TempDir(), "report.pdf")
	_, stderr := fcttest.Chromium(t, "--no-pdf-header-footer", "--print-to-pdf="+pdf, "file://"+file)
	if strings.Contains(stderr, "CONSOLE") {
		t.Errorf("console:\n%s", stderr)
	}
	printed, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", pdf, "-").CombinedOutput()
	if err != nil {
		t.Fatalf("pdftotext: %v: %s", err, printed)
	}
	for _, want := range []string{"Go on with:", "config.toml", "busiest minute", "success: ", "Outcomes: at most"} {
		if !strings.Contains(string(printed), want) {
			t.Errorf("the print lacks %q", want)
		}
	}
}
