package site

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
)

// errValue says that a field holds what it should not.
var errValue = errors.New("not a plain value")

// text is a scalar as text, trimmed; empty when it is missing or null.
func text(n *jsontree.Node) (string, error) {
	if n == nil {
		return "", nil
	}
	switch n.Kind {
	case jsontree.Null:
		return "", nil
	case jsontree.String:
		return strings.TrimSpace(n.Text), nil
	case jsontree.Bool:
		return n.Text, nil
	case jsontree.Number:
		return plainNumber(n.Text), nil
	default:
		return "", errValue
	}
}

// plainNumber is a number as it was written, but a whole one without a fraction of zeros: decimal
// columns come as 62.0.
func plainNumber(written string) string {
	if whole, zeros, found := strings.Cut(written, "."); found && strings.Trim(zeros, "0") == "" {
		return whole
	}
	return written
}

// errCharset says that an answer's bytes are no text in the character set that they should be in.
var errCharset = errors.New("not text in its character set")

// parseJSON reads the one JSON value that a body must be.
func parseJSON(body []byte, contentType string) (*jsontree.Node, error) {
	body, err := toUTF8(body, contentType)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errors.New("empty body")
	}
	return jsontree.Parse(string(body))
}

// toUTF8 is the body in UTF-8 without byte order marks. One that is UTF-8 already is so under every
// label: servers say all kinds of things, and nothing else is UTF-8 by chance but what writes its
// letters in ASCII. Other bodies are what their byte order mark or their content type says, and
// nothing is guessed: that could turn a broken answer into a wrong one.
func toUTF8(body []byte, contentType string) ([]byte, error) {
	name := declaredCharset(contentType)
	marked, known := utf16Label(body)
	switch {
	case known:
		name = marked
	case utf8.Valid(body) && !maybeASCIICoded(name, body):
		return trimByteOrderMarks(body), nil
	}
	encoding, canonical := lookupEncoding(name)
	switch {
	case name == "" || canonical == "utf-8" || namesUTF8(name):
		return nil, fmt.Errorf("%w: not UTF-8", errCharset)
	case encoding == nil:
		return nil, fmt.Errorf("%w: %.40q is not known", errCharset, name)
	}
	decoded, err := io.ReadAll(encoding.NewDecoder().Reader(bytes.NewReader(body)))
	if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
		return nil, fmt.Errorf("%w: not %.40q", errCharset, name)
	}
	return trimByteOrderMarks(decoded), nil
}

// byteOrderMark is the byte order mark in UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// trimByteOrderMarks is a text without the byte order marks at its start; a page put together of several
// files has several.
func trimByteOrderMarks(text []byte) []byte {
	for bytes.HasPrefix(text, []byte(byteOrderMark)) {
		text = text[len(byteOrderMark):]
	}
	return text
}

// utf16Label is the form of UTF-16 that a body's byte order mark names.
func utf16Label(body []byte) (name string, known bool) {
	switch {
	case bytes.HasPrefix(body, []byte("\xff\xfe")):
		return "utf-16le", true
	case bytes.HasPrefix(body, []byte("\xfe\xff")):
		return "utf-16be", true
	default:
		return "", false
	}
}

// maybeASCIICoded says whether a body that is UTF-8 may be other text by its label: UTF-16 of English is
// full of NULs, and some character sets write their letters in the bytes of ASCII.
func maybeASCIICoded(name string, body []byte) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	_, canonical := lookupEncoding(name)
	return strings.HasPrefix(canonical, "utf-16") && bytes.IndexByte(body, 0) >= 0 ||
		strings.HasPrefix(name, "iso-2022-") || slices.Contains([]string{"utf-7", "hz", "hz-gb-2312"}, name)
}

// lookupEncoding finds the encoding of a label, written in one way or another: latin-1, CP-1252,
// iso_8859_1.
func lookupEncoding(name string) (encoding.Encoding, string) {
	dashed := strings.ReplaceAll(name, "_", "-")
	for _, spelling := range []string{name, dashed, strings.ReplaceAll(dashed, "-", "")} {
		if found, canonical := charset.Lookup(spelling); found != nil {
			return found, canonical
		}
	}
	return nil, ""
}

// namesUTF8 says whether a label names UTF-8 in the way of some program, such as utf8mb4 of MySQL.
func namesUTF8(name string) bool {
	return strings.HasPrefix(strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name)), "utf8")
}

// declaredCharset is the character set that a content type names; empty when it names none.
func declaredCharset(contentType string) string {
	if !strings.Contains(strings.ToLower(contentType), "charset") {
		return ""
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return params["charset"]
}

// startsAsJSON says whether a body begins as a list or an object of JSON does.
func startsAsJSON(body []byte) bool {
	start := bytes.TrimLeft(trimByteOrderMarks(body), " \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[')
}

// searchViews are the two ways in which the beginning of an answer is searched, both in small letters: as it came, for what
// stands in its markup, and as its reader sees it.
func searchViews(page []byte) [][]byte {
	// What is still full of NULs is UTF-16 that nothing said to be so.
	page = bytes.ToLower(bytes.ReplaceAll(page[:min(len(page), searchLimit)], []byte{0}, nil))
	return [][]byte{page, visibleText(page, len(page))}
}

// decodeLeniently is an answer in UTF-8 if that can be told from its first bytes or its content type. A page that is in neither is
// most likely in the old character set of western Europe. An answer that is read for what it says is not guessed at.
func decodeLeniently(exchange contract.Exchange) []byte {
	body := exchange.Body
	name := declaredCharset(exchange.ContentType)
	marked, known := utf16Label(body)
	switch {
	case known:
		name = marked
	case utf8.Valid(body) && !bytes.Contains(body, []byte{0}):
		return trimByteOrderMarks(body)
	}
	encoding, canonical := lookupEncoding(name)
	if encoding == nil || canonical == "utf-8" {
		encoding, _ = charset.Lookup("windows-1252")
	}
	text, err := io.ReadAll(encoding.NewDecoder().Reader(bytes.NewReader(body)))
	if err != nil {
		return body
	}
	return trimByteOrderMarks(text)
}

// visibleText is the text of a page without its markup, with single spaces, until it has so many bytes.
func visibleText(page []byte, length int) []byte {
	var text []byte
	for len(page) > 0 && len(text) < length {
		before, rest, _ := bytes.Cut(page, []byte("<"))
		text = append(append(text, before...), ' ')
		_, page, _ = bytes.Cut(rest, []byte(">"))
	}
	return bytes.Join(bytes.Fields([]byte(html.UnescapeString(string(text)))), []byte(" "))
}

// jsonText are the names and texts of JSON in small letters, which may be written with escapes in it.
func jsonText(doc *jsontree.Node) []byte {
	var text []byte
	var add func(*jsontree.Node)
	add = func(n *jsontree.Node) {
		if n.Kind == jsontree.String {
			text = append(append(text, n.Text...), ' ')
		}
		for child := n.First; child != nil && len(text) < searchLimit; child = child.Next {
			text = append(append(text, child.Name...), ' ')
			add(child)
		}
	}
	add(doc)
	return bytes.ToLower(text)
}

// startsAsMarkup says whether a body begins as a page of HTML or XML does.
func startsAsMarkup(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(trimByteOrderMarks(body)), []byte("<"))
}
