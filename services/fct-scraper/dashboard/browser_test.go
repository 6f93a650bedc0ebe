//go:build browser

package dashboard

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"
)

// keepScreenshot writes a screenshot for people to look at, if FCT_SCREENSHOTS names a folder.
func keepScreenshot(t *testing.T, b *fcttest.Browser, name string) {
	t.Helper()
	folder := os.Getenv("FCT_SCREENSHOTS")
	if folder == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), b.Screenshot(), 0o600); err != nil {
		t.Error(err)
	}
}

// checkAccessible checks what a machine can check of the page as it is now: names of controls and
// landmarks, headings, ids, contrast of all visible texts, and that nothing is wider than the window.
func checkAccessible(t *testing.T, b *fcttest.Browser, where string) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("testdata", "accessible.js"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	b.Eval(string(script), &found)
	for _, problem := range found {
		t.Errorf("%s: %s", where, problem)
	}
}

// quiet checks that the page wrote nothing to the console: no error, nothing that the policy forbade.
func quiet(t *testing.T, b *fcttest.Browser) {
	t.Helper()
	for _, line := range b.Console() {
		t.Errorf("console: %.500s", line)
	}
}

// TestBrowser_WatchRun follows a real run at two widths, light and dark, and stops it.
func TestBrowser_WatchRun(t *testing.T) {
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 5000, Missing: 0.2, Latency: 30 * time.Millisecond,
		Faults: []courtsim.Fault{{Kind: "500", Share: 0.1, Times: -1}}},
		map[string]string{"delay_min": "100ms", "delay_max": "150ms", "max_retries": "0", "safe_stop_fails": "0"})
	f.await(f.start(batch(1, 30, "")), ended)
	run := f.start(batch(1, 600, ""))
	f.await(run, func(r Run) bool { return r.Done > 40 && len(r.Errors) > 0 })
	b := fcttest.OpenBrowser(t)
	b.Resize(1280, 900, 1, false)
	b.Open(f.url + "/")
	b.Await(`document.getElementById("connection")?.textContent === "Live" && states.length === 600`)
	b.Await(`document.getElementById("phase").textContent === "fetching" && document.querySelectorAll("#errors tbody tr").length > 0`)
	b.Await(`document.querySelectorAll("#runs a").length === 2 && document.querySelector("#runs a[aria-current]").hash === "#` + string(run) + `"`)
	for _, dark := range []bool{false, true} {
		for _, width := range []int{1280, 390} {
			b.Resize(width, 900, float64(1+width%4/2), dark)
			b.Await(fmt.Sprintf(`innerWidth === %d && canvas.width > 0 && Math.abs(canvas.clientWidth * devicePixelRatio - canvas.width) < 2`, width))
			where := fmt.Sprintf("run-%d-%s", width, map[bool]string{false: "light", true: "dark"}[dark])
			checkAccessible(t, b, where)
			keepScreenshot(t, b, where)
		}
	}
	b.Resize(1280, 900, 1, false)
	// The keyboard: Enter in the map shows the history of the number.
	b.Eval(`canvas.focus()`, nil)
	for _, key := range []string{"Home", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"} {
		b.Press(key)
	}
	b.Await(`/^IMM-2-25: [a-z-]+$/.test(document.getElementById("map-cell").textContent)`)
	b.Press("Enter")
	b.Await(`document.getElementById("history").open && document.getElementById("history-text").textContent.startsWith("text of IMM-2-25")`)
	checkAccessible(t, b, "history")
	keepScreenshot(t, b, "history")
	b.Press("Escape")
	b.Await(`!document.getElementById("history").open && document.activeElement === canvas`)
	// The mouse.
	var at struct{ X, Y float64 }
	b.Eval(`canvas.scrollIntoView(), (({left, top}) => ({x: left + cell * 4.5, y: top + cell * 1.5}))(canvas.getBoundingClientRect())`, &at)
	b.Click(at.X, at.Y)
	b.Await(`document.getElementById("history").open && document.getElementById("history-title").textContent === caseID(columns + 4)`)
	b.Press("Escape")
	// Stop asks first; Escape and Cancel keep the run.
	b.Eval(`document.getElementById("stop").focus()`, nil)
	b.Press("Enter")
	b.Await(`document.getElementById("confirm").open && document.activeElement.textContent === "Cancel"`)
	checkAccessible(t, b, "confirm")
	keepScreenshot(t, b, "confirm")
	b.Press("Enter")
	b.Await(`!document.getElementById("confirm").open`)
	if r := f.await(run, func(Run) bool { return true }); r.Status != contract.Running {
		t.Errorf("%s after Cancel", r.Status)
	}
	b.Eval(`document.getElementById("stop").click(), document.getElementById("confirm-yes").click()`, nil)
	if r := f.await(run, ended); r.Status != contract.Stopped {
		t.Errorf("%s after Stop", r.Status)
	}
	b.Await(`document.getElementById("phase").textContent === "stopped" && document.getElementById("stop").hidden`)
	var page map[string]int
	b.Eval(`Object.fromEntries(Object.entries(counts).map(([l, n]) => [letters[l], n]))`, &page)
	var m struct{ Counts map[string]int }
	f.get("/api/runs/"+string(run)+"/map", &m)
	for state, n := range m.Counts {
		if page[state] != n {
			t.Errorf("the page has %d %s, the server %d", page[state], state, n)
		}
	}
	quiet(t, b)
}

// TestBrowser_LargeMapIsQuick: an outcome is in the map of 30,000 numbers within a second.
func TestBrowser_LargeMapIsQuick(t *testing.T) {
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 30_000, Missing: 0.1}, map[string]string{"concurrency": "8", "delay_min": "1ms", "delay_max": "1ms"})
	run := f.start(batch(1, 30_000, `,"safe_stop_no_records":0`))
	b := fcttest.OpenBrowser(t)
	b.Resize(1280, 900, 1, false)
	b.Open(f.url + "/#" + string(run))
	b.Await(`document.getElementById("connection")?.textContent === "Live" && states.length === 30000`)
	// When the page shows each number's outcome, and when its last response was complete.
	b.Eval(`window.seen = {}, stream.addEventListener("map-changed", (e) => {
		for (const [n, letter] of JSON.parse(e.data).changed) if ("SNQF".includes(letter)) seen[n] ??= Date.now();
	})`, nil)
	b.Await(`Object.keys(seen).length >= 500`)
	var seen map[int]int64
	b.Eval(`seen`, &seen)
	var delays []float64
	for number, at := range seen {
		var history struct {
			Runs []struct {
				Attempts []struct {
					StartedAt time.Time `json:"started_at"`
					Seconds   float64
				}
			}
		}
		if f.get(fmt.Sprintf("/api/cases/IMM-%d-25", number), &history); len(delays) < 50 {
			last := history.Runs[0].Attempts[len(history.Runs[0].Attempts)-1]
			delays = append(delays, time.UnixMilli(at).Sub(last.StartedAt).Seconds()-last.Seconds)
		}
		if len(delays) == 50 {
			break
		}
	}
	var draw float64
	b.Eval(`(() => { const began = performance.now(); layOut(); return performance.now() - began; })()`, &draw)
	slices.Sort(delays)
	t.Logf("50 outcomes were shown after %.3f to %.3f s, median %.3f s; all cells drawn in %.1f ms", delays[0], delays[49], delays[25], draw)
	if slices.Max(delays) > 1 || draw > 200 {
		t.Errorf("updates took %v s, drawing %.1f ms", delays, draw)
	}
	keepScreenshot(t, b, "large-1280-light")
	b.Resize(390, 844, 2, true)
	b.Await(`innerWidth === 390 && canvas.clientWidth < 390`)
	keepScreenshot(t, b, "large-390-dark")
	checkAccessible(t, b, "large")
	f.request("POST", "/api/runs/"+string(run)+"/stop", "{}", map[string]string{"Content-Type": "application/json"})
	f.await(run, ended)
	quiet(t, b)
}

// TestBrowser_Login logs in with the token, and not with another one.
func TestBrowser_Login(t *testing.T) {
	f := newFixture(t, courtsim.Options{Seed: 3, Max: 20}, map[string]string{"http_token": "correct-horse-battery"})
	b := fcttest.OpenBrowser(t)
	b.Resize(390, 844, 2, true)
	b.Open(f.url + "/")
	b.Await(`location.pathname === "/login" && document.readyState === "complete"`)
	checkAccessible(t, b, "login")
	keepScreenshot(t, b, "login-390-dark")
	b.Eval(`document.getElementById("token").value = "a-wrong-token-of-some-length", document.forms[0].requestSubmit()`, nil)
	b.Await(`location.hash === "#wrong" && document.readyState === "complete" && document.getElementById("wrong").checkVisibility()`)
	checkAccessible(t, b, "wrong token")
	b.Eval(`document.getElementById("token").value = "correct-horse-battery", document.forms[0].requestSubmit()`, nil)
	b.Await(`location.pathname === "/" && document.readyState === "complete" && !document.getElementById("no-runs").hidden`)
	var cookie string
	if b.Eval(`document.cookie`, &cookie); cookie != "" {
		t.Errorf("scripts can read %q", cookie)
	}
	checkAccessible(t, b, "no runs")
	keepScreenshot(t, b, "empty-390-dark")
	quiet(t, b)
}

// TestBrowser_HostileCourt shows everything of a run whose court puts markup into every field.
func TestBrowser_HostileCourt(t *testing.T) {
	const numbers = 30
	f := newHostileFixture(t)
	run := f.start(batch(1, numbers, ""))
	r := f.await(run, ended)
	if r.Succeeded == 0 || len(r.Errors) == 0 || !strings.Contains(fmt.Sprint(r.Errors), "attacked") {
		t.Fatalf("%+v", r)
	}
	b := fcttest.OpenBrowser(t)
	b.Resize(390, 844, 1, false)
	b.Open(f.url + "/")
	b.Await(fmt.Sprintf(`document.getElementById("connection")?.textContent === "Live" && states.length === %d && document.querySelector("#errors tbody tr")`, numbers))
	shown := 0
	for number := 1; number <= numbers; number++ {
		b.Eval(fmt.Sprintf(`document.getElementById("number").value = %d, document.getElementById("find").requestSubmit()`, number), nil)
		b.Await(fmt.Sprintf(`document.getElementById("history-text").textContent.startsWith("text of IMM-%d-25")`, number))
		var text string
		b.Eval(`document.getElementById("history-text").textContent`, &text)
		if strings.Contains(text, "attacked") {
			shown++
		}
	}
	if shown == 0 {
		t.Error("no history has hostile text: nothing was tried")
	}
	checkAccessible(t, b, "hostile")
	keepScreenshot(t, b, "hostile-390-light")
	var attacked bool
	b.Eval(`window.attacked !== undefined || document.querySelectorAll("script").length !== 1 || document.querySelector("img, iframe, svg, object, embed, style, [onerror], [onload], [onclick], [style*=url]") !== null`, &attacked)
	if attacked {
		t.Error("text became markup")
	}
	quiet(t, b)
}

// TestBrowser_Phases: a run that searches, waits, is paused or blocked shows that, with the reason and
// the time of its end.
func TestBrowser_Phases(t *testing.T) {
	for name, c := range map[string]struct {
		court           courtsim.Options
		settings        map[string]string
		batch           string
		phase, explains string
	}{
		"searching": {courtsim.Options{Seed: 3, Max: 5000}, map[string]string{"delay_min": "400ms", "delay_max": "400ms"},
			`{"year":"25","probe":true}`, "searching", "highest number"},
		"waiting": {courtsim.Options{Seed: 3, Max: 50}, map[string]string{"rest_every": "3", "rest_for": "1m"},
			batch(1, 50, ""), "waiting", `^until \\d\\d:\\d\\d:\\d\\d, \\d+ s left: .*rest`},
		"blocked": {courtsim.Options{Seed: 3, Max: 50, Faults: []courtsim.Fault{{Kind: "403", Share: 1, Times: -1}}}, nil,
			batch(1, 50, ""), "blocked", "^blocked by the site at IMM-.*, until 20"},
		"paused": {courtsim.Options{Seed: 3, Max: 500}, map[string]string{"delay_min": "100ms", "delay_max": "100ms"},
			batch(1, 500, ""), "fetching", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, c.court, c.settings)
			run := f.start(c.batch)
			b := fcttest.OpenBrowser(t)
			b.Resize(390, 844, 1, name == "blocked")
			b.Open(f.url + "/#" + string(run))
			b.Await(fmt.Sprintf(`document.getElementById("phase")?.textContent === %q && new RegExp("%s").test(document.getElementById("phase-text").textContent)`,
				c.phase, c.explains))
			if name == "paused" {
				for _, step := range []struct{ button, phase, focus string }{{"pause", "paused", "resume"}, {"resume", "fetching", "pause"}} {
					b.Eval(fmt.Sprintf(`document.getElementById(%q).focus(), document.getElementById(%q).click()`, step.button, step.button), nil)
					b.Await(`document.getElementById("confirm").open`)
					b.Press("Tab")
					b.Press("Enter")
					b.Await(fmt.Sprintf(`document.getElementById("phase").textContent === %q && document.activeElement.id === %q`, step.phase, step.focus))
					checkAccessible(t, b, step.phase)
					keepScreenshot(t, b, "phase-"+step.phase)
				}
			}
			checkAccessible(t, b, name)
			if name != "paused" {
				keepScreenshot(t, b, "phase-"+name)
			}
			quiet(t, b)
		})
	}
}
