package courtsim_test

import (
	"net/http"
	"strings"
	"testing"

	"fct-scraper/pkg/courtsim"
)

// TestStaleTokens: each kind of invalid tokens has its own error page, and a new page fixes all of
// them.
func TestStaleTokens(t *testing.T) {
	t.Parallel()
	forget := func(name string) func(*visitor) {
		return func(v *visitor) {
			v.client.Jar.SetCookies(v.origin, []*http.Cookie{{Name: name, Path: "/", MaxAge: -1}})
		}
	}
	for name, c := range map[string]struct {
		spoil  func(*visitor)
		alter  string
		status int
		text   string
	}{
		"unknown session":   {spoil: forget("ASP.NET_SessionId"), status: 200, text: "The state information is invalid for this page and might be corrupted."},
		"no cookie half":    {spoil: forget("__RequestVerificationToken"), status: 400, text: `The required anti-forgery cookie "__RequestVerificationToken" is not present.`},
		"wrong form half":   {alter: "__RequestVerificationToken", status: 500, text: "Validation of viewstate MAC failed."},
		"wrong view state":  {alter: "__VIEWSTATE", status: 500, text: "Validation of viewstate MAC failed."},
		"wrong generator":   {alter: "__VIEWSTATEGENERATOR", status: 500, text: "Validation of viewstate MAC failed."},
		"wrong validation":  {alter: "__EVENTVALIDATION", status: 500, text: "Validation of viewstate MAC failed."},
		"nothing was wrong": {status: 200, text: "Showing 1 to 1 of 1 entries"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisitor(t, newSimulator(t, courtsim.Options{Seed: 3, Max: 100}), englishPage)
			form := v.form("search", "IMM-1-25", "")
			if c.spoil != nil {
				c.spoil(v)
			}
			if c.alter != "" {
				form.Set(c.alter, "A"+form.Get(c.alter))
			}
			v.post(form)
			if got := v.text(`//h1/following-sibling::h2|//p|//div[@id="datatable_info"]`); v.status != c.status || !strings.Contains(got, c.text) {
				t.Errorf("status %d, %q", v.status, got)
			}
			v.get()
			v.post(v.form("search", "IMM-1-25", ""))
			if got := v.text(`//table[@id="datatable"]/tbody/tr/td[1]`); got != "IMM-1-25" {
				t.Errorf("with fresh tokens: %q", got)
			}
		})
	}
}

// TestTokenLife: the tokens of a page expire after the given number of posts, with the page's own
// tokens or with those of the responses. Pages expire in different ways.
func TestTokenLife(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100, TokenLife: 3})
	v := newVisitor(t, sim, englishPage)
	statuses := map[int]bool{}
	for page := range 3 {
		first := v.form("search", "IMM-1-25", "")
		for n := range 3 {
			form := first
			if n == 1 {
				form = v.form("re", "IMM-1-25", "")
			}
			v.post(form)
			if v.status != http.StatusOK || v.form("", "", "").Get("__VIEWSTATE") == "" {
				t.Errorf("page %d, post %d: status %d", page, n, v.status)
			}
		}
		v.post(v.form("search", "IMM-1-25", ""))
		if got := v.text(`//form`); got != "" {
			t.Errorf("page %d: the fourth post gave %q", page, got)
		}
		statuses[v.status] = true
		v.get()
	}
	if len(statuses) != 3 {
		t.Errorf("stale tokens gave the statuses %v", statuses)
	}
	if s := sim.Stats(); s.PerNumber["IMM-25"]["1"]["html-search"] != 9 || s.Pages != 4 {
		t.Errorf("%d pages, %v", s.Pages, s.PerNumber)
	}
}
