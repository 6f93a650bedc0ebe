package courtsim_test

import (
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/courtsim"
	"fct-scraper/pkg/fcttest"

	"github.com/antchfx/htmlquery"
	"golang.org/x/net/html"
)

const (
	englishPage = "/en/court-files-and-decisions/court-files"
	frenchPage  = "/fr/dossiers-de-la-cour-et-decisions/dossiers-de-la-cour"
)

// visitor is a client of the HTML page with cookies.
type visitor struct {
	t      testing.TB
	client *http.Client
	origin *url.URL
	page   string
	status int
	doc    *html.Node
}

func newVisitor(t testing.TB, sim *courtsim.Simulator, page string) *visitor {
	t.Helper()
	origin, err := url.Parse(start(t, sim))
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	v := &visitor{t: t, client: &http.Client{Jar: jar, Transport: transport}, origin: origin, page: page}
	v.get()
	return v
}

func (v *visitor) get() {
	v.t.Helper()
	v.send(http.MethodGet, nil)
}

// form returns the filled-in form of the page.
func (v *visitor) form(event, number, argument string) url.Values {
	form := url.Values{}
	for _, input := range htmlquery.Find(v.doc, `//form[@id="tab02form"]//input`) {
		form.Set(htmlquery.SelectAttr(input, "name"), htmlquery.SelectAttr(input, "value"))
	}
	form.Set("tab02selectCourt", "t")
	form.Set("selectCourtNumber", number)
	form.Set("__EVENTTARGET", event)
	form.Set("__EVENTARGUMENT", argument)
	return form
}

func (v *visitor) post(form url.Values) {
	v.t.Helper()
	v.send(http.MethodPost, form)
}

func (v *visitor) send(method string, form url.Values) {
	v.t.Helper()
	request, err := http.NewRequestWithContext(v.t.Context(), method, v.origin.String()+v.page, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := v.client.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	v.status = response.StatusCode
	if got := response.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		v.t.Errorf("content type %q", got)
	}
	if v.doc, err = htmlquery.Parse(response.Body); err != nil {
		v.t.Fatal(err)
	}
}

func (v *visitor) text(expr string) string {
	return strings.Join(strings.Fields(strings.Join(v.texts(expr), "|")), " ")
}

func (v *visitor) texts(expr string) (texts []string) {
	for _, node := range htmlquery.Find(v.doc, expr) {
		texts = append(texts, htmlquery.InnerText(node))
	}
	return texts
}

func TestPage_FormAndCookies(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100})
	v := newVisitor(t, sim, englishPage)
	for _, name := range []string{"__VIEWSTATE", "__VIEWSTATEGENERATOR", "__EVENTVALIDATION", "__RequestVerificationToken"} {
		if v.form("", "", "").Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	if rows := htmlquery.Find(v.doc, `//table[@id="datatable"]/tbody/tr`); len(rows) != 0 {
		t.Errorf("%d rows before anything was asked", len(rows))
	}
	action := htmlquery.SelectAttr(htmlquery.FindOne(v.doc, `//form[@id="tab02form"][@method="post"]`), "action")
	if got := v.text(`//select[@id="tab02selectCourt"]/option/@value`); got != "t|a|b" || action != englishPage {
		t.Errorf("divisions %s, action %s", got, action)
	}
	if cookies := v.client.Jar.Cookies(v.origin); len(cookies) != 2 || cookies[0].Name != "ASP.NET_SessionId" || cookies[1].Name != "__RequestVerificationToken" {
		t.Errorf("cookies %v", cookies)
	}
	before := v.client.Jar.Cookies(v.origin)[0].Value
	v.get()
	if after := v.client.Jar.Cookies(v.origin)[0].Value; after != before {
		t.Errorf("a session that is known began anew: %s, %s", before, after)
	}
	if s := sim.Stats(); s.Requests != 2 || s.Pages != 2 {
		t.Errorf("%d requests, %d pages", s.Requests, s.Pages)
	}
}

func TestPage_Search(t *testing.T) {
	t.Parallel()
	for page, want := range map[string][2]string{
		englishPage: {"Showing 0 to 0 of 0 entries", "No data available in table"},
		frenchPage:  {"Affichage de l'élément 0 à 0 sur 0 éléments", "Aucune donnée disponible dans le tableau"},
	} {
		sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100})
		v := newVisitor(t, sim, page)
		v.post(v.form("search", "IMM-1-25", ""))
		if got := v.text(`//table[@id="datatable"]/tbody/tr[1]/td[1]`); got != "IMM-1-25" {
			t.Errorf("row of %q", got)
		}
		if got := v.text(`//table[@id="datatable"]/tbody/tr[1]/td[5]/button[@id="re"]/@data-courtnumber`); got != "IMM-1-25" {
			t.Errorf("button of %q", got)
		}
		if got := v.text(`//a[@id="datatable_next"]/@class`); got != "next disabled" {
			t.Errorf("next page: %q", got)
		}
		v.post(v.form("search", "IMM-101-25", ""))
		if got := v.text(`//td[@class="dataTables_empty"][@colspan="5"]`); got != want[1] {
			t.Errorf("no hit: %q", got)
		}
		if got := v.text(`//div[@id="datatable_info"]`); got != want[0] {
			t.Errorf("no hit: %q", got)
		}
		if s := sim.Stats(); s.Requests != 3 || s.Pages != 1 || s.PerNumber["IMM-25"]["1"]["html-search"] != 1 || s.PerNumber["IMM-25"]["101"]["html-search"] != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// TestPageAgreesWithJSON: the HTML page and the JSON calls agree on every field of a case.
func TestPageAgreesWithJSON(t *testing.T) {
	fcttest.SkipIfShort(t)
	t.Parallel()
	sim := newSimulator(t, courtsim.Options{Seed: 3, Max: 100, Missing: 0.1})
	english, french := newVisitor(t, sim, englishPage), newVisitor(t, sim, frenchPage)
	rows := 0
	for n := 1; n <= 105; n++ {
		for _, v := range []*visitor{english, french} {
			rows += compareEntries(t, sim, v, n)
			compareParties(t, sim, v, n)
		}
	}
	if rows < 1500 {
		t.Errorf("%d entries were compared", rows)
	}
	if s := sim.Stats(); s.PerNumber["IMM-25"]["7"]["html-re"] != 2 || s.PerNumber["IMM-25"]["7"]["html-more"] != 2 {
		t.Errorf("%v", s.PerNumber["IMM-25"]["7"])
	}
}

// rowsOf returns the rows that a call returns for a number.
func rowsOf(t testing.TB, sim *courtsim.Simulator, call string, n int) (rows []map[string]any) {
	t.Helper()
	var got struct {
		Data []map[string]any `json:"data"`
	}
	if err := json.Unmarshal(get(sim, callPath(call, n)).Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, row := range got.Data {
		if number, has := row["COURT_NO"]; !has || number == caseNo(n).String() {
			rows = append(rows, row)
		}
	}
	return rows
}

func textOf(value any) string {
	text, _ := value.(string)
	return text
}

func compareEntries(t testing.TB, sim *courtsim.Simulator, v *visitor, n int) int {
	t.Helper()
	v.post(v.form("re", caseNo(n).String(), ""))
	language, title, none := "ENGLISH", "Recorded Entry Information :  ", "No data available in table"
	if v.page == frenchPage {
		language, title, none = "FRENCH", "Renseignements sur les inscriptions enregistrées :  ", "Aucune donnée disponible dans le tableau"
	}
	if got := v.texts(`//div[@id="ModalForm"]//h4[@class="modal-title"]`); len(got) != 1 || got[0] != title+caseNo(n).String() {
		t.Errorf("title %q", got)
	}
	entries := rowsOf(t, sim, "proceedingQueriesRE", n)
	lines := htmlquery.Find(v.doc, `//div[@id="ModalForm"]//table[@class="table table-striped table-bordered"][2]/tbody/tr`)
	if len(entries) == 0 {
		if len(lines) != 1 || htmlquery.InnerText(lines[0]) != none {
			t.Errorf("%d: %d lines where there are no entries", n, len(lines))
		}
	} else if len(lines) != len(entries) {
		t.Fatalf("%d: %d lines, %d entries", n, len(lines), len(entries))
	}
	for i, e := range entries {
		var number int
		for _, digit := range htmlquery.InnerText(htmlquery.FindOne(lines[i], "td[1]")) {
			number = number*10 + int(digit-'0')
		}
		document := ""
		if textOf(e["FOREMOST_NUMBER"]) != "" {
			document = "/CourtFilesAndDecisions/downloadFileFromAlfresco?foremostNum=" + textOf(e["FOREMOST_NUMBER"])
		}
		got := [4]string{cell(lines[i], "td[2]"), cell(lines[i], "td[3]"), cell(lines[i], "td[4]"), cell(lines[i], "td[5]/a/@href")}
		if want := [4]string{day(t, textOf(e["DOC_DT"])), textOf(e[language+"_OFFICE_NAME"]), textOf(e["RECORDED_ENTRY"]), document}; got != want || float64(number) != e["RE_NO"] {
			t.Errorf("%d, entry %v: %d %q, want %q", n, e["RE_NO"], number, got, want)
		}
	}
	compareHeader(t, sim, v, n, language)
	return len(entries)
}

func cell(row *html.Node, expr string) string {
	node := htmlquery.FindOne(row, expr)
	if node == nil {
		return ""
	}
	return htmlquery.InnerText(node)
}

// day returns a day as the page writes it.
func day(t testing.TB, text string) string {
	t.Helper()
	zone, err := time.LoadLocation("America/Toronto")
	if err != nil {
		t.Fatal(err)
	}
	ms, found := strings.CutPrefix(text, "/Date(")
	if !found {
		return text[:10]
	}
	at, err := time.ParseDuration(ms[:13] + "ms")
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(0, int64(at)).In(zone).Format(time.DateOnly)
}

func compareHeader(t testing.TB, sim *courtsim.Simulator, v *visitor, n int, language string) {
	t.Helper()
	var want []string
	for _, row := range rowsOf(t, sim, "proceedingQueriesAddInfo", n) {
		for _, field := range []string{"_PROCEEDING_CLASS", "_TRACK_NAME", "_NATURE_DESC", "_CITY_NAME", "_LANGUAGE_NAME"} {
			want = append(want, textOf(row[language+field]))
		}
		want = append(want, day(t, textOf(row["FILE_DT"])))
	}
	var got []string
	for _, text := range v.texts(`//div[@id="ModalForm"]//p`) {
		_, value, found := strings.Cut(text, " :  ")
		if !found {
			t.Errorf("%d: a paragraph %q", n, text)
		}
		got = append(got, value)
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%d: header %q, want %q", n, got, want)
	}
}

func compareParties(t testing.TB, sim *courtsim.Simulator, v *visitor, n int) {
	t.Helper()
	v.post(v.form("more", caseNo(n).String(), ""))
	var got, want []string
	for _, line := range htmlquery.Find(v.doc, `//div[@id="ModalForm"]//tbody/tr[count(td)=3]`) {
		got = append(got, cell(line, "td[1]")+"|"+cell(line, "td[2]")+"|"+cell(line, "td[3]"))
	}
	for _, row := range rowsOf(t, sim, "PublicPartiesListInfo", n) {
		want = append(want, textOf(row["PARTY_NAME"])+"|"+textOf(row["SOLCTR_FIRM"])+"|"+textOf(row["SOLCTR_CONTACT"]))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d: parties %q, want %q", n, got, want)
	}
}
