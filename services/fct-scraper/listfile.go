package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"fct-scraper/pkg/config"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/sanitize"
)

// This file reads lists of case ids as people have them: a line each, or the first column of a table.

// allowedListedID describes the forms of parseListedID.
const allowedListedID = "a case id such as IMM-231-25, IMM-231-2025 or imm 231 25, the number 1 to 99999"

// parseListedID reads a case id in any case, with dashes, underscores, slashes or spaces between its
// parts, leading zeros and a year of two or four digits.
func parseListedID(text string) (contract.CaseID, error) {
	series, rest := cutWhile(strings.TrimSpace(text),
		func(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' })
	rest, first := cutSeparator(rest)
	digits, rest := cutWhile(rest, isDigit)
	rest, second := cutSeparator(rest)
	years, rest := cutWhile(rest, isDigit)
	number, err := strconv.Atoi(digits)
	year, yearErr := contract.ParseYear(years)
	id, idErr := contract.NewCaseID(strings.ToUpper(series), number, year)
	if !first || !second || rest != "" || err != nil || yearErr != nil || idErr != nil {
		return contract.CaseID{}, fmt.Errorf("%.40q: want %s", text, allowedListedID)
	}
	return id, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// cutWhile cuts the bytes at the start of text that are wanted.
func cutWhile(text string, wanted func(byte) bool) (start, rest string) {
	n := 0
	for n < len(text) && wanted(text[n]) {
		n++
	}
	return text[:n], text[n:]
}

// cutSeparator cuts what may be between two parts of a case id: spaces, or one dash, also one of a
// word processor, underscore or slash with spaces around it.
func cutSeparator(text string) (rest string, found bool) {
	rest = strings.TrimLeftFunc(text, unicode.IsSpace)
	mark, size := utf8.DecodeRuneInString(rest)
	if strings.ContainsRune("-_/\u2010\u2011\u2012\u2013\u2014\u2015\u2212", mark) {
		return strings.TrimLeftFunc(rest[size:], unicode.IsSpace), true
	}
	return rest, len(rest) < len(text)
}

// isListHeader reports whether the first field of a table is the name of its column. Every word of
// it is one that such names have, so that a mistyped id is none.
func isListHeader(field string) bool {
	words := strings.FieldsFunc(strings.ToLower(field), func(r rune) bool { return !unicode.IsLetter(r) })
	for _, word := range words {
		if !slices.Contains(strings.Fields("case cases caseid caseno casenumber court courtfile courtnumber docket file files fileno "+
			"filenumber id ids identifier key no nos nr num number numbers of the "+
			"cour d de du dossier dossiers greffe la n numero numéro"), word) {
			return false
		}
	}
	return len(words) > 0
}

const (
	// maxListProblems is how many bad lines an error names.
	maxListProblems = 20
	// maxListedBatches limits the series and years of a list, each of which is a batch of its own.
	maxListedBatches = 200
	// maxLineBytes limits a line of a list, and with it the memory that a file of another kind takes.
	maxLineBytes = 1 << 20
)

// caseList is a list of case ids as it was read.
type caseList struct {
	contract.CaseLists
	// duplicates is how many ids were listed before.
	duplicates int
	// problems are the bad lines, at most maxListProblems of bad.
	problems []string
	bad      int
}

func (l *caseList) addProblem(line int, format string, args ...any) {
	if l.bad++; len(l.problems) < maxListProblems {
		l.problems = append(l.problems, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
	}
}

// add adds the id of a line.
func (l *caseList) add(line int, text string) {
	id, err := parseListedID(text)
	switch {
	case err != nil:
		l.addProblem(line, "%s", err)
	case l.Count() >= maxListedBatches && !l.Has(id.Series, id.Year):
		l.addProblem(line, "%s: want at most %d series and years in a list", id, maxListedBatches)
	case !l.Add(id):
		l.duplicates++
	}
}

// err returns what is wrong with the list, a line for each problem, or nil. name is the flag and the
// file.
func (l *caseList) err(name string) error {
	var lines []error
	for _, problem := range l.problems {
		lines = append(lines, fmt.Errorf("%s: %s", name, problem))
	}
	if more := l.bad - len(l.problems); more > 0 {
		lines = append(lines, fmt.Errorf("%s: and %d more bad lines", name, more))
	}
	if l.bad == 0 && l.Count() == 0 {
		lines = append(lines, fmt.Errorf("%s: it is empty: want one or more case ids, a line each", name))
	}
	return errors.Join(lines...)
}

// openList reads the list that a flag names: a file, or stdin for "-".
func (p *program) openList(flag, name string) (*caseList, error) {
	shown := flag + " " + sanitize.Quote(name)
	in := p.stdin
	switch name {
	case "-":
	case "":
		return nil, fmt.Errorf(`%s: %s = "": want the path of a file, or - for stdin`, flag,
			strings.TrimLeft(flag, "-"))
	default:
		path, err := config.ExpandHome(name, p.environ)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		defer func() { _ = file.Close() }() // opened only for reading
		in = file
	}
	list, err := readList(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return list, list.err(shown)
}

// readList reads a list: an id a line, or in the first column of a CSV or TSV. A line that begins with
// # is a comment; so is the rest of a line after the id. Its error is about the file as a whole.
func readList(from io.Reader) (*caseList, error) {
	in := bufio.NewReaderSize(&textReader{from: from}, 64<<10)
	if mark, _ := in.Peek(len(utf8Mark)); string(mark) == utf8Mark {
		_, _ = in.Discard(len(utf8Mark)) // peeked
	}
	delimiter, err := findDelimiter(in)
	if err != nil {
		return nil, err
	}
	table := csv.NewReader(in)
	table.Comma, table.Comment, table.FieldsPerRecord, table.ReuseRecord = delimiter, '#', -1, true
	table.TrimLeadingSpace = delimiter != '\t' // else an empty first column would be lost
	list := &caseList{}
	for first := true; ; {
		record, err := table.Read()
		wrong, malformed := errors.AsType[*csv.ParseError](err)
		switch {
		case errors.Is(err, io.EOF):
			return list, nil
		case malformed && len(record) > 0 && errors.Is(err, csv.ErrBareQuote):
			// The first field was read. Tables without quoting have such quotes in the others.
		case malformed && errors.Is(err, csv.ErrBareQuote):
			list.addProblem(wrong.Line, `a quote inside of a field: want none around or in an id, or "IMM-231-25"`)
			continue
		case malformed:
			list.addProblem(wrong.StartLine, "a field that begins with a quote does not end with one")
			continue
		case err != nil:
			return nil, err
		}
		line := 0
		if malformed {
			line = wrong.StartLine
		} else {
			line, _ = table.FieldPos(0)
		}
		field, _, commented := strings.Cut(record[0], "#")
		if strings.TrimSpace(field) == "" {
			if !commented && strings.TrimSpace(strings.Join(record, "")) != "" {
				list.addProblem(line, "the first column is empty: want %s", allowedListedID)
			}
			continue
		}
		if first && isListHeader(field) {
			first = false
			continue
		}
		first = false
		list.add(line, field)
	}
}

const utf8Mark = "\uFEFF"

// findDelimiter returns the delimiter of a table: the first tab, comma or semicolon of its first lines
// outside of quotes and comments.
func findDelimiter(in *bufio.Reader) (rune, error) {
	start, err := in.Peek(in.Size())
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	quoted := false
	for line := range bytes.Lines(start) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] == '#' {
			continue
		}
		for _, c := range string(line) {
			switch {
			case c == '"':
				quoted = !quoted
			case !quoted && (c == '\t' || c == ',' || c == ';'):
				return c, nil
			}
		}
	}
	return ',', nil
}

// textReader refuses what is no text, before much of it is read.
type textReader struct {
	from   io.Reader
	length int // of the current line, in bytes
	begun  bool
	err    error
}

var (
	errBinary  = errors.New("it is no text: want UTF-8, a case id a line or a CSV or TSV")
	errUTF16   = errors.New("it is UTF-16: want UTF-8")
	errTooLong = errors.New("a line has more than 1 MiB: want a case id a line or a CSV or TSV")
)

// isBinary reports whether no text has a byte: control characters but white space and Ctrl-Z, with
// which some old files end.
func isBinary(c byte) bool { return c < '\t' || '\r' < c && c < ' ' && c != 0x1a }

// Read reads as from does. It returns an error for what is no text and for a line that is too long,
// and from then on.
func (r *textReader) Read(to []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.from.Read(to)
	data := to[:n]
	if last := bytes.LastIndexByte(data, '\n'); last >= 0 {
		r.length = n - last - 1
	} else {
		r.length += n
	}
	switch {
	case !r.begun && n > 1 && (data[0] == 0xff && data[1] == 0xfe || data[0] == 0xfe && data[1] == 0xff):
		r.err = errUTF16
	case slices.ContainsFunc(data, isBinary):
		r.err = errBinary
	case r.length > maxLineBytes:
		r.err = errTooLong
	}
	r.begun = r.begun || n > 0
	if r.err != nil {
		return 0, r.err
	}
	return n, err
}
