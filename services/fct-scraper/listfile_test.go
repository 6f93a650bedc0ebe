package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

func TestParseListedID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"IMM-231-25": "IMM-231-25", "IMM-231-2025": "IMM-231-25", "imm-231-25": "IMM-231-25",
		" IMM-231-25\t": "IMM-231-25",
		"imm 231 25":    "IMM-231-25", "Imm  231 - 2025": "IMM-231-25", "IMM_231_25": "IMM-231-25",
		"IMM/231/25":   "IMM-231-25",
		"IMM-00231-25": "IMM-231-25", "t-5-99": "T-5-99", "IMM\u2013231\u201125": "IMM-231-25",
		"IMM\u00a0231\u00a025": "IMM-231-25",
		"IMM-99999-25":         "IMM-99999-25",
		// Nothing is guessed.
		"": "", "IMM": "", "IMM-231": "", "231-25": "", "IMM-0-25": "", "IMM-100000-25": "", "IMM-231-5": "",
		"IMM-231-025":  "",
		"IMM-231-1925": "", "IMM-231-25-1": "", "IMMMMM-1-25": "", "IMM231-25": "", "IMM--231-25": "",
		"IMM-2 31-25": "",
		"-IMM-231-25": "", "IMM-231-25.": "", "ÎMM-1-25": "", "IMM-1.5-25": "", "IMM-٣-25": "", "IMM-1-25 IMM-2-25": "",
		"IMM-9999999999-25": "", strings.Repeat("0", 101): "",
	} {
		id, err := parseListedID(text)
		if got := ""; want == "" && err == nil || want != "" && (err != nil || id.String() != want) {
			t.Errorf("%q: %s%s, %v; want %q", text, got, id, err, want)
		}
	}
}

func TestReadList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text       string
		want       []string
		duplicates int
	}{
		"lines":            {text: "IMM-3-25\nIMM-1-25\n", want: []string{"IMM-1-25", "IMM-3-25"}},
		"no last newline":  {text: "IMM-3-25", want: []string{"IMM-3-25"}},
		"BOM, CRLF, blank": {text: "\uFEFFIMM-3-25\r\n\r\n  \r\n IMM-4-25 \r\n", want: []string{"IMM-3-25..IMM-4-25"}},
		"comments": {text: "# a list, of mine\nIMM-3-25 # granted; \n  # indented\n#IMM-4-25\n",
			want: []string{"IMM-3-25"}},
		"duplicates":     {text: "IMM-3-25\nimm-3-2025\nIMM-0003-25\n", want: []string{"IMM-3-25"}, duplicates: 2},
		"header":         {text: "case_id\nIMM-3-25\n", want: []string{"IMM-3-25"}},
		"header, words":  {text: "# x\n\nCourt File No.,Judge\nIMM-3-25,A\n", want: []string{"IMM-3-25"}},
		"header, French": {text: "Numéro de dossier;Juge\nIMM-3-25;A, B\n", want: []string{"IMM-3-25"}},
		"CSV": {text: "IMM-3-25,\"a, \"\"b\"\"\nc\",1\n\"IMM-4-25\",x\n",
			want: []string{"IMM-3-25..IMM-4-25"}},
		"CSV, BOM, quoted": {text: "\uFEFF\"file number\",\"style\"\r\n\"IMM-3-25\",\"x\"\r\n",
			want: []string{"IMM-3-25"}},
		"CSV, blank rows":  {text: "IMM-3-25,x\n,\n , \n", want: []string{"IMM-3-25"}},
		"CSV, ragged":      {text: "IMM-3-25\nIMM-4-25,x,y\nIMM-5-25,\n", want: []string{"IMM-3-25..IMM-5-25"}},
		"CSV, Latin-1":     {text: "IMM-3-25,Qu\xe9bec\n", want: []string{"IMM-3-25"}},
		"CSV, bare quotes": {text: "IMM-3-25,the \"X\" case\nIMM-4-25,y\n", want: []string{"IMM-3-25..IMM-4-25"}},
		"TSV":              {text: "id\tjudge\nIMM-3-25\ta,b;c\nimm 4 25\t\n", want: []string{"IMM-3-25..IMM-4-25"}},
		"several series": {text: "T-1-24\nIMM-1-25\nT-1-25\nIMM-2-24\n",
			want: []string{"IMM-2-24", "IMM-1-25", "T-1-24", "T-1-25"}},
	} {
		for _, in := range []io.Reader{strings.NewReader(c.text), &oneByOne{text: c.text}} {
			list, err := readList(in)
			if err == nil {
				err = list.err("--list " + name)
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			var got []string
			for _, l := range list.Lists() {
				got = append(got, l.Elements()...)
			}
			if !slices.Equal(got, c.want) || list.duplicates != c.duplicates {
				t.Errorf("%s: %q, %d duplicates; want %q, %d", name, got, list.duplicates, c.want, c.duplicates)
			}
		}
	}
}

// oneByOne gives its text byte by byte, as a slow pipe does.
type oneByOne struct{ text string }

func (o *oneByOne) Read(to []byte) (int, error) {
	if o.text == "" {
		return 0, io.EOF
	}
	n := copy(to[:min(1, len(to))], o.text)
	o.text = o.text[n:]
	return n, nil
}

func TestReadList_BadLines(t *testing.T) {
	t.Parallel()
	many := "IMM-1-25\n" + strings.Repeat("x\n", 25)
	for text, want := range map[string][]string{
		"":                                   {"--list f: it is empty: want one or more case ids"},
		"# nothing\ncase_id\n\n":             {"it is empty"},
		"IMM-1-25\n\nfoo\nIMM-2-25,\n":       {`--list f: line 3: "foo": want a case id such as IMM-231-25`},
		"nonsense\nIMM-1-25\n":               {`line 1: "nonsense": want`},
		"IMM-1-25\ncase_id\n":                {`line 2: "case_id": want`},
		"IMM-1-25,\"a\nb\"\nIMM-0-25,\n":     {`line 3: "IMM-0-25": want`, "1 to 99999"},
		"IMM-1-25\tx\n\ty\n":                 {"line 2: the first column is empty"},
		"IMM-1-25,x\n\"IMM-2-25,y\nIMM-3-25": {"line 2: a field that begins with a quote"},
		"IMM-1-25,x\nIMM-2-25,\"y\"z\n":      {"line 2: a field that begins with a quote"},
		"IMM\"1\"25\nIMM-2-25\n":             {"line 1: a quote inside of a field"},
		"IMM-1-25\nIMM-2-25\rIMM-3-25\n":     {`line 2: "IMM-2-25\rIMM-3-25": want`},
		"\u202eIMM-1-25\n":                   {`line 1: "\u202eIMM-1-25": want`},
		many:                                 {"line 2: ", "line 21: ", "--list f: and 5 more bad lines"},
	} {
		list, err := readList(strings.NewReader(text))
		if err == nil {
			err = list.err("--list f")
		}
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v, want %q", text, err, part)
			}
		}
	}
}

// What is read as an id is a valid one, and its plain form is read as the same.
func FuzzReadList(f *testing.F) {
	for _, seed := range []string{"IMM-231-25\n", "case_id,x\r\n\"imm 4 2025\",\"a\nb\"\n", "# x\nT-1-24\ty\n",
		"\"IMM-1-25\nIMM-2-25"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := readList(strings.NewReader(text))
		if err != nil || list.err("f") != nil {
			return
		}
		var plain strings.Builder
		for _, l := range list.Lists() {
			for n := range l.Numbers() {
				id, err := contract.NewCaseID(l.Series, n, l.Year)
				if err != nil {
					t.Fatalf("%q: %v", text, err)
				}
				plain.WriteString(id.String() + "\n")
			}
		}
		again, err := readList(strings.NewReader(plain.String()))
		if err != nil || again.err("f") != nil || again.duplicates > 0 || !slices.Equal(again.Lists(), list.Lists()) {
			t.Fatalf("%q: %q was read otherwise", text, plain.String())
		}
	})
}

func TestReadList_NoText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"\x7fELF\x02\x01\x01\x00":                  errBinary,
		"IMM-1-25\n\x1b[31mIMM-2-25\n":             errBinary,
		"\xff\xfeI\x00M\x00M\x00":                  errUTF16,
		"IMM-1-25\n" + strings.Repeat("x", 2<<20):  errTooLong,
		strings.Repeat("IMM-1-25\n", 100) + "\x00": errBinary,
	} {
		if _, err := readList(strings.NewReader(text)); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
	}
	dir := t.TempDir()
	if _, err := (&program{}).openList("--list", filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := (&program{}).openList("--list", dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a folder: %v", err)
	}
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := (&program{stdin: closed}).openList("--list", "-"); err == nil ||
		!strings.HasPrefix(err.Error(), "--list -: ") {
		t.Errorf("a closed stdin: %v", err)
	}
}

func TestReadList_TooManyBatches(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	for i := range 3 * maxListedBatches / 2 {
		fmt.Fprintf(&text, "%c-1-%02d\n", 'A'+i/100, i%100)
	}
	list, err := readList(&text)
	if err != nil || list.Count() != maxListedBatches || list.bad != maxListedBatches/2 {
		t.Errorf("%v, %d batches, %d bad lines", err, list.Count(), list.bad)
	}
}

// A million lines take the memory of the set, not of the file. It is not parallel: it measures the
// memory of the process.
func TestReadList_MillionLines(t *testing.T) {
	fcttest.SkipIfShort(t)
	lines := fcttest.Scaled(300_000, 1_000_000)
	list, err := readList(&generated{lines: lines})
	if err != nil || list.err("--list f") != nil {
		t.Fatal(err, list)
	}
	if got := list.Lists()[0].Size(); got != contract.MaxNumber || list.duplicates != lines-contract.MaxNumber {
		t.Errorf("%d ids, %d duplicates", got, list.duplicates)
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	if memory.HeapAlloc > 64<<20 {
		t.Errorf("%d MB in use", memory.HeapAlloc>>20)
	}
	runtime.KeepAlive(list)
}

// generated is a CSV with ids in the forms that people have.
type generated struct {
	lines, line int
	rest        []byte
}

func (g *generated) Read(to []byte) (int, error) {
	for len(g.rest) == 0 {
		if g.line == g.lines {
			return 0, io.EOF
		}
		form := []string{"IMM-%d-25,x\n", "imm-%d-2025,\"a, b\"\n", "imm %d 25,\n"}[g.line%3]
		g.rest = fmt.Appendf(g.rest, form, g.line%contract.MaxNumber+1)
		g.line++
	}
	n := copy(to, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}
