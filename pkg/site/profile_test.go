package site_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"

	"github.com/google/go-cmp/cmp"
)

func profileText(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("profiles/" + name + ".toml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantProfileError(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, site.ErrProfile) {
		t.Errorf("error %v, want one that wraps ErrProfile", err)
	}
}

func TestBuiltIn(t *testing.T) {
	t.Parallel()
	for _, name := range site.BuiltIn() {
		p := load(t, name)
		if p.Name != name {
			t.Errorf("profile %s has the name %s", name, p.Name)
		}
	}
	if got := load(t, "fct-cf").Origin; got != "https://www.fct-cf.ca" {
		t.Errorf("origin %q", got)
	}
	_, err := site.Load("nobody")
	wantProfileError(t, err)
	if want := "fct-cf, fct-cf-html, sim"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want the names %s in it", err, want)
	}
}

// TestParse_InvalidProfile: each changed line of a good profile is rejected with an error that
// explains the problem.
func TestParse_InvalidProfile(t *testing.T) {
	t.Parallel()
	good := string(profileText(t, "fct-cf"))
	for _, test := range []struct{ from, to, say string }{
		{`name = "fct-cf"`, `name = "FCT"`, `name "FCT": allowed are`},
		{`name = "fct-cf"`, `nome = "fct-cf"`, `unknown key "nome"`},
		{`name = "fct-cf"`, `name = "a.b"`, `name "a.b"`},
		{`https://www.fct-cf.ca`, `http://www.fct-cf.ca`, "allowed is https://"},
		{`America/Toronto`, `Local`, `time_zone "Local"`},
		{`America/Toronto`, `Nowhere/Town`, `time_zone "Nowhere/Town"`},
		{`{ A = "a" }`, `{ a = "a" }`, "divisions: series"},
		{`proof = 2`, `proof = 0`, "proof 0: allowed is 1 to 2"},
		{`proof = 2`, `proof = 3`, "proof 3: allowed is 1 to 2"},
		{`Accept = "application/json"`, `User-Agent = "x"`, `headers: "User-Agent"`},
		{`Accept = "application/json"`, `"A b" = "x"`, `headers: "A b"`},
		{`Accept = "application/json"`, `Accept = "a\nb"`, `headers: "Accept"`},
		{`{origin}/en`, `{oregon}/en`, `headers.Referer: "{oregon}"`},
		{`when = "always"`, `when = "never"`, `when "never"`},
		{`when = "always"`, `when = "unseen"`, "the first one is made always"},
		{`when = "parties"`, `when = "always"`, "party for a call made for parties"},
		{`gives = "entry"`, `gives = "entries"`, `gives "entries"`},
		{`gives = "entry"`, "gives = \"entry\"\nproves = true", `proves "true"`},
		{`name = "header"`, `name = "docket"`, `call "docket": duplicate name`},
		{`name = "header"`, `name = ""`, `name ""`},
		{`"/CourtFilesAndDecisions/proceedingQueriesRE"`, `"//evil.invalid/x"`, "path"},
		{`"/CourtFilesAndDecisions/proceedingQueriesRE"`, `"/x?a=b"`, "path"},
		{`"/CourtFilesAndDecisions/proceedingQueriesRE"`, `"/{id}"`, `path: "{id}"`},
		{`division = "{division}"`, `division = "{"`, `query.division: "{"`},
		{`format = "json"`, `format = "xml"`, `format "xml"`},
		{`rows = "/data/*"`, `rows = ""`, "rows: "},
		{`rows = "/data/*"`, `rows = "/data/["`, "rows: "},
		{`rows = "/data/*"`, `rows = "1 + 1"`, "rows: "},
		{`number = "COURT_NO"`, `number = ""`, "number: "},
		{`style_of_cause = `, `stile_of_cause = `, "unknown key header.stile_of_cause"},
		{`entry_number = "RE_NO"`, `entri = "RE_NO"`, "unknown key entry.entri"},
		{`entry_number = "RE_NO"`, `entry = "RE_NO"`, "key entry.entry is now entry.entry_number"},
		{`document_number = `, `document = `, "key entry.document is now entry.document_number"},
		{`entered_on = `, `day = `, "key entry.day is now entry.entered_on"},
		{`command_en = `, `command = `, "key entry.command is now entry.command_en"},
		{`nature_en = `, `nature = `, "key header.nature is now header.nature_en"},
		{`proceeding_type_en = `, `proceeding_type = `, "key header.proceeding_type is now header.proceeding_type_en"},
		{`nature_en = `, `day = `, "unknown key header.day"},
		{`firm = `, `farm = `, "unknown key party.farm"},
		{`status = [403, 429]`, `status = [200]`, `block "status"`},
		{`status = [403, 429]`, `status = []`, `block "status"`},
		{`"cf-mitigated"`, `"a b"`, `block "challenge": header`},
		{`"request rejected", `, `"", `, `block "waf"`},
		{`proof = 2`, `proof = `, "toml"},
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

func TestParse_ListsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := site.Parse([]byte("nome = \"x\"\ntime_zone = \"x\"\n[[call]]\nrows = \"[\""))
	wantProfileError(t, err)
	for _, say := range []string{`unknown key "nome"`, "time_zone", "proof 0", "block: at least one rule", "rows: ", "number: ", `name ""`} {
		if err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("error %q, want %q in it", err, say)
		}
	}
}

// TestParse_Like: a profile may be a copy of a built-in one with another name and origin, and may
// change nothing else.
func TestParse_Like(t *testing.T) {
	t.Parallel()
	p, err := site.Parse([]byte("name = \"mine\"\nlike = \"fct-cf\"\norigin = \"https://court.invalid\""))
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "mine" || p.Origin != "https://court.invalid" {
		t.Errorf("profile %s at %s", p.Name, p.Origin)
	}
	exchange := contract.Exchange{Call: "docket", Status: 200, StartedAt: exchangeStart, Body: []byte(ownBody)}
	if reading := p.Read(caseID(t, "IMM-13-25"), []contract.Exchange{exchange}); reading.Verdict != contract.VerdictSuccess {
		t.Errorf("it reads %s, %s", reading.Verdict, reading.Error)
	}
	for _, bad := range []string{`like = "nobody"`, "like = \"fct-cf\"\nname = \"x\"\nproof = 1", `like = "fct-cf"`} {
		_, err := site.Parse([]byte(bad))
		wantProfileError(t, err)
	}
}

func TestLoadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte) {
		if err := os.WriteFile(path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good.toml", profileText(t, "fct-cf"))
	write("large.toml", append(profileText(t, "fct-cf"), strings.Repeat("#", 1<<20)...))
	write("binary.toml", []byte{0, 1, 2, 0xff})
	if err := syscall.Mkfifo(path("fifo.toml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path("good.toml"), path("link.toml")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"good.toml", "link.toml"} {
		if p, err := site.LoadFile(path(name)); err != nil || p.Name != "fct-cf" {
			t.Errorf("%s: profile %+v, %v", name, p, err)
		}
	}
	for _, name := range []string{"large.toml", "binary.toml", "fifo.toml", "missing.toml", "."} {
		_, err := site.LoadFile(path(name))
		wantProfileError(t, err)
		if err != nil && !strings.Contains(err.Error(), path(name)) {
			t.Errorf("error %q does not name %s", err, path(name))
		}
	}
	_, err := site.LoadFile("/dev/zero")
	wantProfileError(t, err)
}

func TestCheckOrigin(t *testing.T) {
	t.Parallel()
	got := make(map[string]bool)
	want := map[string]bool{
		"https://www.fct-cf.ca": true, "https://court.invalid:8443/": true, "http://127.0.0.1:8080": true, "http://[::1]:1": true, "http://LOCALHOST": true,
		"": false, "www.fct-cf.ca": false, "ftp://court.invalid": false, "http://court.invalid": false, "http://169.254.169.254": false,
		"http://127.0.0.1.evil.invalid": false, "https://u:secret@court.invalid": false, "https://court.invalid/path": false, "https://court.invalid/?": false,
		"https://court.invalid/#a": false, "https://": false, "https://:443": false, "https:court.invalid": false, "https://court.invalid:": false,
		"https://court.invalid:1": true, "https://court.invalid:65535": true, "https://court.invalid:99999": false, "https://court.invalid:65536": false, "https://court.invalid:0": false,
		"https://court.invalid:00": false, "https://court.invalid:-1": false, "https://court.invalid:+80": false, "https://court.invalid:https": false, "https://court.invalid:80:80": false,
		"http://127.0.0.1:99999": false, "http://localhost:0": false, "http://[::1]:": false, "https://[2001:db8::1]:443": true, "https://2001:db8::1": false,
		" https://court.invalid": false, "https://court.invalid ": false, "https://court invalid": false, "https://court.invalid /": false, "https:// court.invalid": false,
		"https://court..invalid": false, "https://.": false, "https://court.invalid.": true, "https://cour-fédérale.invalid": true, "https://court,invalid": false, "https://court.invalid:443/a": false,
		"https://court_files.invalid": true, "https://court%20invalid": false, "https://user@court.invalid": false, "https://@court.invalid": false, "https://court.invalid?": false, "https://court.invalid/?a=b": false,
		"https://court.invalid#": true, "https:///court.invalid": false, "//court.invalid": false, "HTTPS://court.invalid": true, "https://court.invalid//": false, "https://court.invalid\\": false, "https://u:secret@court invalid": false,
	}
	for origin := range want {
		err := site.CheckOrigin(origin)
		got[origin] = err == nil
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error contains the password: %v", origin, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("allowed origins (-want +got):\n%s", diff)
	}
}

// TestParse_HidesHeaderValues: a header of a profile may be a token, so no error repeats it.
func TestParse_HidesHeaderValues(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		`Bearer canary`, `canary`, `"canary\q"`, `"Bearer canary`, `["canary"]`, `"can\u0007ary"`, `"canary\n"`, `"canary{canary1}"`, `"{Canary}"`, `'''canary`,
	} {
		_, err := site.Parse([]byte("name = \"x\"\ntime_zone = \"UTC\"\n[headers]\nAuthorization = " + value + "\n"))
		wantProfileError(t, err)
		if text := strings.ToLower(err.Error()); strings.Contains(text, "canary") || !strings.Contains(text, "authorization") {
			t.Errorf("%s: %v; want the header's name and not its value", value, err)
		}
	}
}

func TestProfileRequests(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		profile         string
		parties, header bool
		record, absent  int
	}{
		{"fct-cf", false, false, 1, 2}, {"fct-cf", true, false, 2, 2}, {"fct-cf", false, true, 2, 2},
		{"fct-cf", true, true, 3, 2}, {"fct-cf-html", false, false, 2, 2}, {"fct-cf-html", true, false, 3, 2},
	} {
		profile, err := site.Load(c.profile)
		if err != nil {
			t.Fatal(err)
		}
		if record, absent := profile.Requests(c.parties, c.header); record != c.record || absent != c.absent {
			t.Errorf("%+v: %d and %d", c, record, absent)
		}
	}
}
