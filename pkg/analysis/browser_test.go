//go:build browser

package analysis_test

import (
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/analysis"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/fcttest"
)

// measured is what the script of frame.html finds in a page of some width.
type measured struct {
	Width   int      `json:"width"`
	Scroll  int      `json:"scroll"`
	Page    string   `json:"page"`
	Images  int      `json:"images"`
	Texts   int      `json:"texts"`
	Outside []string `json:"outside"`
	Overlap []string `json:"overlap"`
	// Faint are texts with a contrast below 4.5, with it.
	Faint []string `json:"faint"`
}

// measure shows the page, unchanged, in a frame of each width and measures it.
func measure(t *testing.T, page string, dark bool, widths ...int) []measured {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("testdata", "measure.js"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("<!DOCTYPE html><meta charset=utf-8><body>")
	for _, width := range widths {
		fmt.Fprintf(&b, `<iframe style="border:0;width:%dpx;height:800px" srcdoc="%s"></iframe>`, width,
			html.EscapeString(page))
	}
	fmt.Fprintf(&b, "<pre id=result></pre><script>%s</script>", script)
	file := filepath.Join(t.TempDir(), "frames.html")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	scheme := "--blink-settings=preferredColorScheme=1"
	if dark {
		scheme = "--blink-settings=preferredColorScheme=0"
	}
	dom, stderr := fcttest.Chromium(t, scheme, "--window-size=1600,1000", "--virtual-time-budget=10000", "--dump-dom",
		"file://"+file)
	if strings.Contains(stderr, "CONSOLE") {
		t.Errorf("console:\n%s", stderr)
	}
	found := regexp.MustCompile(`(?s)<pre id="result">(.*?)</pre>`).FindStringSubmatch(dom)
	if found == nil {
		t.Fatalf("no result in %.500s", dom)
	}
	var results []measured
	if err := json.Unmarshal([]byte(html.UnescapeString(found[1])), &results); err != nil {
		t.Fatalf("%v: %.500s", err, found[1])
	}
	if len(results) != len(widths) {
		t.Fatalf("%d results of %d widths", len(results), len(widths))
	}
	return results
}

func pages(t *testing.T) map[string]string {
	t.Helper()
	long := randomSamples(rand.New(rand.NewPCG(1, 5)), 4000)
	for i := range long {
		long[i].office = fmt.Sprintf("An office with a name that is far too long for any chart, number %d", i%20)
		if long[i].judge != "" {
			long[i].judge = fmt.Sprintf("Wwwwwwwwwwwwwwwwwwww-Mmmmmmmmmmmmmmmmmmmmm %d", i%30)
		}
	}
	texts := map[string]string{}
	for name, samples := range map[string][]sample{
		"few": few(), "many": randomSamples(rand.New(rand.NewPCG(1, 5)), 4000), "long": long,
		"one": {{number: 1, status: facts.StatusAwaitingLeave, filed: "2025-01-01"}},
	} {
		a := analysis.New()
		a.AddNumber(contract.CaseID{Series: "IMM", Year: "25", Number: 99_999}, contract.Failed, false)
		var b strings.Builder
		if err := report(t, a, 2, samples).WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		texts[name] = b.String()
	}
	return texts
}

// TestBrowser_Layout checks the page on a phone, a tablet and a desk, light and dark: no horizontal
// scroll, all texts of charts inside their image and apart, and a contrast of at least 4.5.
func TestBrowser_Layout(t *testing.T) {
	for name, page := range pages(t) {
		for _, dark := range []bool{false, true} {
			var backgrounds []string
			for _, m := range measure(t, page, dark, 360, 480, 700, 820, 1280) {
				where := fmt.Sprintf("%s, dark %t, %d px", name, dark, m.Width)
				if m.Scroll > m.Width {
					t.Errorf("%s: the page is %d px wide", where, m.Scroll)
				}
				if m.Images == 0 || m.Texts == 0 {
					t.Errorf("%s: %d images, %d texts", where, m.Images, m.Texts)
				}
				for problem, list := range map[string][]string{"outside of its image": m.Outside,
					"over another text": m.Overlap, "faint": m.Faint} {
					if len(list) > 0 {
						t.Errorf("%s: %d texts are %s: %q", where, len(list), problem, list[:min(5, len(list))])
					}
				}
				backgrounds = append(backgrounds, m.Page)
			}
			if want := map[bool]string{false: "rgb(255, 255, 255)", true: "rgb(20, 24, 28)"}[dark]; slices.ContainsFunc(backgrounds, func(b string) bool { return b != want }) {
				t.Errorf("%s, dark %t: backgrounds %v, want %s", name, dark, backgrounds, want)
			}
		}
	}
}

// TestBrowser_Print prints the page: the tables are open, and the console stays empty.
func TestBrowser_Print(t *testing.T) {
	folder := t.TempDir()
	file, pdf := filepath.Join(folder, "page.html"), filepath.Join(folder, "page.pdf")
	if err := os.WriteFile(file, []byte(pages(t)["many"]), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr := fcttest.Chromium(t, "--no-pdf-header-footer", "--print-to-pdf="+pdf, "file://"+file)
	if strings.Contains(stderr, "CONSOLE") {
		t.Errorf("console:\n%s", stderr)
	}
	printed, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", pdf, "-").CombinedOutput()
	if err != nil {
		t.Fatalf("pdftotext: %v: %s", err, printed)
	}
	for _, want := range []string{"volume.csv", "first_decision.csv", "Never requested", "Wilson score interval"} {
		if !strings.Contains(string(printed), want) {
			t.Errorf("the print lacks %q", want)
		}
	}
}
