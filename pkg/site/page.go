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

// pageViews are the two ways in which the beginning of an answer is searched, both in small letters: as it came, for what
// stands in its markup, and as its reader sees it.
func pageViews(page []byte) [][]byte {
	// What is still full of NULs is UTF-16 that nothing said to be so.
	page = bytes.ToLower(bytes.ReplaceAll(page[:min(len(page), searched)], []byte{0}, nil))
	return [][]byte{page, visible(page, len(page))}
}

// decoded is an answer in UTF-8 if that can be told from its first bytes or its content type. A page that is in neither is
// most likely in the old character set of western Europe. An answer that is read for what it says is not guessed at.
func decoded(exchange contract.Exchange) []byte {
	body := exchange.Body
	name := declared(exchange.ContentType)
	marked, known := markedUTF16(body)
	switch {
	case known:
		name = marked
	case utf8.Valid(body) && !bytes.Contains(body, []byte{0}):
		return trimMarks(body)
	}
	encoding, canonical := lookup(name)
	if encoding == nil || canonical == "utf-8" {
		encoding, _ = charset.Lookup("windows-1252")
	}
	text, err := io.ReadAll(encoding.NewDecoder().Reader(bytes.NewReader(body)))
	if err != nil {
		return body
	}
	return trimMarks(text)
}

// visible is the text of a page without its markup, with single spaces, until it has so many bytes.
func visible(page []byte, length int) []byte {
	var text []byte
	for len(page) > 0 && len(text) < length {
		before, rest, _ := bytes.Cut(page, []byte("<"))
		text = append(append(text, before...), ' ')
		_, page, _ = bytes.Cut(rest, []byte(">"))
	}
	return bytes.Join(bytes.Fields([]byte(html.UnescapeString(string(text)))), []byte(" "))
}

// words are the names and texts of JSON in small letters, which may be written with escapes in it.
func words(doc *jsontree.Node) []byte {
	var text []byte
	var add func(*jsontree.Node)
	add = func(n *jsontree.Node) {
		if n.Kind == jsontree.String {
			text = append(append(text, n.Text...), ' ')
		}
		for child := n.First; child != nil && len(text) < searched; child = child.Next {
			text = append(append(text, child.Name...), ' ')
			add(child)
		}
	}
	add(doc)
	return bytes.ToLower(text)
}

// looksLikeMarkup says whether a body begins as a page of HTML or XML does.
func looksLikeMarkup(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(trimMarks(body)), []byte("<"))
}
