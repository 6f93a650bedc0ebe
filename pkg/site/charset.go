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

// errValue is the error for a list or an object in place of a scalar.
var errValue = errors.New("not a plain value")

// text returns a scalar as trimmed text; empty if it is missing or null.
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

// plainNumber returns a number as written, except that it drops a fraction of zeros: decimal
// columns arrive as 62.0.
func plainNumber(written string) string {
	if whole, zeros, found := strings.Cut(written, "."); found && strings.Trim(zeros, "0") == "" {
		return whole
	}
	return written
}

// errCharset marks bodies that are not valid text in their character set.
var errCharset = errors.New("invalid text for its character set")

// parseJSON parses a body, which must be exactly one JSON value.
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

// toUTF8 converts a body to UTF-8 and removes byte order marks. A body that is valid UTF-8 is taken
// as such under nearly every label: labels are often wrong, and hardly any other text is valid
// UTF-8 by accident unless its encoding uses ASCII bytes only. Other bodies are decoded by their
// byte order mark or content type. Nothing is guessed, because a guess could turn a broken response
// into a wrong one.
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

// trimByteOrderMarks removes all leading byte order marks; a page assembled from several files has
// several.
func trimByteOrderMarks(text []byte) []byte {
	for bytes.HasPrefix(text, []byte(byteOrderMark)) {
		text = text[len(byteOrderMark):]
	}
	return text
}

// utf16Label returns the UTF-16 variant that a body's byte order mark names.
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

// maybeASCIICoded reports whether a body that is valid UTF-8 may still be other text according to
// its label: UTF-16 of English text is full of NULs, and some encodings use ASCII bytes for all
// letters.
func maybeASCIICoded(name string, body []byte) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	_, canonical := lookupEncoding(name)
	return strings.HasPrefix(canonical, "utf-16") && bytes.IndexByte(body, 0) >= 0 ||
		strings.HasPrefix(name, "iso-2022-") || slices.Contains([]string{"utf-7", "hz", "hz-gb-2312"}, name)
}

// lookupEncoding finds an encoding by its label in various spellings: latin-1, CP-1252, iso_8859_1.
func lookupEncoding(name string) (encoding.Encoding, string) {
	dashed := strings.ReplaceAll(name, "_", "-")
	for _, spelling := range []string{name, dashed, strings.ReplaceAll(dashed, "-", "")} {
		if found, canonical := charset.Lookup(spelling); found != nil {
			return found, canonical
		}
	}
	return nil, ""
}

// namesUTF8 reports whether a label is a variant name of UTF-8, such as MySQL's utf8mb4.
func namesUTF8(name string) bool {
	return strings.HasPrefix(strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name)), "utf8")
}

// declaredCharset returns the character set of a content type, or an empty text.
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

// startsAsJSON reports whether a body starts like a JSON list or object.
func startsAsJSON(body []byte) bool {
	start := bytes.TrimLeft(trimByteOrderMarks(body), " \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[')
}

// searchViews returns two versions of the beginning of a response, both in lower case: as received,
// to search its markup, and as visible text.
func searchViews(page []byte) [][]byte {
	// A page that is still full of NULs is UTF-16 without a label.
	page = bytes.ToLower(bytes.ReplaceAll(page[:min(len(page), searchLimit)], []byte{0}, nil))
	return [][]byte{page, visibleText(page, len(page))}
}

// decodeLeniently converts a response to UTF-8 by its byte order mark or content type, and
// otherwise assumes windows-1252. It is only used to search for blocks; responses that are read as
// records are never guessed, see toUTF8.
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

// visibleText returns the text of about the first length bytes of a page, without markup and with
// single spaces.
func visibleText(page []byte, length int) []byte {
	var text []byte
	for len(page) > 0 && len(text) < length {
		before, rest, _ := bytes.Cut(page, []byte("<"))
		text = append(append(text, before...), ' ')
		_, page, _ = bytes.Cut(rest, []byte(">"))
	}
	return bytes.Join(bytes.Fields([]byte(html.UnescapeString(string(text)))), []byte(" "))
}

// jsonText returns the names and string values of a JSON document in lower case. Searching it finds
// texts that are written with escapes.
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

// startsAsMarkup reports whether a body starts like HTML or XML.
func startsAsMarkup(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(trimByteOrderMarks(body)), []byte("<"))
}
