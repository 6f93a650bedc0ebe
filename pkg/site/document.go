package site

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"unicode/utf8"

	"fct-scraper/pkg/site/jsontree"

	"golang.org/x/net/html/charset"
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
		return number(n.Text), nil
	default:
		return "", errValue
	}
}

// number is a number as it was written, but a whole one without a fraction of zeros: decimal columns come as 62.0.
func number(written string) string {
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

// toUTF8 is the body in UTF-8 without a byte order mark. A character set is taken from the content type alone: a guess
// could turn a broken answer into a wrong one. Only Latin-1 is not believed of a body that is UTF-8: servers say it
// unasked, and real Latin-1 is never UTF-8 by chance.
func toUTF8(body []byte, contentType string) ([]byte, error) {
	name := declared(contentType)
	if encoding, canonical := charset.Lookup(name); canonical != "utf-8" && name != "" && (canonical != "windows-1252" || !utf8.Valid(body)) {
		if encoding == nil {
			return nil, fmt.Errorf("%w: %.40q is not known", errCharset, name)
		}
		decoded, err := io.ReadAll(encoding.NewDecoder().Reader(bytes.NewReader(body)))
		if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
			return nil, fmt.Errorf("%w: not %.40q", errCharset, name)
		}
		body = decoded
	}
	if !utf8.Valid(body) {
		return nil, fmt.Errorf("%w: not UTF-8", errCharset)
	}
	return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), nil
}

// declared is the character set that a content type names; empty when it names none.
func declared(contentType string) string {
	if !strings.Contains(contentType, "charset") && !strings.Contains(contentType, "CHARSET") {
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
	start := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[')
}
