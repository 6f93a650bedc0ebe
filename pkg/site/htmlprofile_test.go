package site_test

import (
	"strings"
	"testing"

	"fct-scraper/pkg/site"
)

// TestParse_InvalidPageProfile is TestParse_InvalidProfile for the keys of pages.
func TestParse_InvalidPageProfile(t *testing.T) {
	t.Parallel()
	good := string(profileText(t, "fct-cf-html"))
	const form = `form = { __EVENTTARGET = "search", __EVENTARGUMENT = "{page}"`
	for _, test := range []struct{ from, to, say string }{
		{`agree = true`, `agree = "yes"`, "agree"},
		{`Accept = "text/html"`, `Cookie = "a=1"`, `headers: "Cookie"`},
		{`Accept = "text/html"`, `Content-Type = "text/plain"`, `headers: "Content-Type"`},
		{`[tokens]`, "[tokens]\nnothing = 1", `unknown key "tokens.nothing"`},
		{"[tokens]\npath = \"/en", "[tokens]\npath = \"en", "tokens: path"},
		{"[tokens]\npath = \"/en", "[tokens]\npath = \"/{case_id}", "path without placeholders"},
		{`inputs = "//form`, `inputs = "//form[`, "tokens: inputs"},
		{`inputs = "//form[@id='tab02form']//input[@type='hidden']"`, ``, "tokens: inputs"},
		{"[[tokens.stale]]\nname = \"cookie\"", "[[tokens.stale]]\nname = \"\"", `stale ""`},
		{`status = [500]`, `status = [5]`, `stale "viewstate"`},
		{`text = ["validation of viewstate mac failed"]`, `text = []`, `stale "viewstate"`},
		{`text = ["validation of viewstate mac failed"]`, `text = [""]`, `stale "viewstate"`},
		{`name = "search"`, `name = "tokens"`, `call "tokens": the name`},
		{`method = "POST"`, `method = "PUT"`, `method "PUT"`},
		{`method = "POST"`, `method = "GET"`, "form"},
		{`"{page}"`, `"{pages}"`, `form.__EVENTARGUMENT: "{pages}"`},
		{`"{page}"`, `"1"`, "page.next"},
		{`format = "html"`, `format = "json"`, "page"},
		{`number = "td[1]"`, `number = ""`, "number"},
		{`number = "td[1]"`, `number = "td["`, "number: "},
		{`number = "td[1]"`, `number = "count(td)"`, "number: "},
		{`rows = "tbody/tr"`, `rows = ""`, "rows: "},
		{`rows = "tbody/tr"`, `rows = "string(tbody)"`, "rows: "},
		{`rows = "tbody/tr"`, "rows = \"tbody/tr\"\ncount = \"//b\"", "count"},
		{`table = "//table[@id='datatable']"`, `table = ""`, "page.table: "},
		{`table = "//table[@id='datatable']"`, `table = "//table[@id="`, "page.table: "},
		{`within = "//div[@id='ModalForm']"`, `within = "1"`, "page.within: "},
		{`title = ".//h4[contains(@class,'modal-title')]"`, `title = ""`, "page.title"},
		{`titles = ['^Parties ?: ?(.+)$']`, `titles = ['^Parties$']`, "page.titles"},
		{`titles = ['^Parties ?: ?(.+)$']`, `titles = ['(']`, "page.titles"},
		{`titles = ['^Parties ?: ?(.+)$']`, `titles = []`, "page.title"},
		{`none = ["No data available in table", `, `none = ["", `, "page.none"},
		{`shown = "//div[@id='datatable_info']"`, `shown = ""`, "page.shown"},
		{`(?P<of>[0-9,]+)`, `([0-9,]+)`, "page.counts"},
		{`@data-page"`, `@data-page["`, "page.next: "},
		{`style_of_cause = `, `stile_of_cause = `, "unknown key header.stile_of_cause"},
		{`entry_number = "td[1]"`, `entry_number = ""`, "entry.entry_number"},
		{`entry_number = "td[1]"`, `entry_number = "1 + 1"`, "entry.entry_number: "},
		{`firm = `, `farm = `, "unknown key party.farm"},
		{`name = "search"`, "name = \"search\"\npage = 1", "toml"},
		{`{page}", tab02`, `{page}", page = "{origin`, "form.page"},
		{form, `form = { __EVENTTARGET = "{token}", __EVENTARGUMENT = "{page}"`, `form.__EVENTTARGET: "{token}"`},
	} {
		t.Run(test.to, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(good, test.from) {
				t.Fatalf("the profile does not hold %q any more", test.from)
			}
			_, err := site.Parse([]byte(strings.Replace(good, test.from, test.to, 1)))
			wantProfileError(t, err)
			if err != nil && !strings.Contains(err.Error(), test.say) {
				t.Errorf("error %q, want %q in it", err, test.say)
			}
		})
	}
}
