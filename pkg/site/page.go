package site

import (
	"bytes"
	"html"
	"io"
	"unicode/utf8"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"

	"golang.org/x/net/html/charset"
)

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
