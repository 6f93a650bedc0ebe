// Package htmltree parses an HTML page into a tree for XPath, with limits, because a site's pages
// are untrusted input.
package htmltree

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// ErrPage marks every error of a text that cannot be used as a page.
var ErrPage = errors.New("not a usable page")

// Limits of a page; the parser itself refuses more than 512 levels. A docket of 2,500 entries has 2
// MiB and 30,000 tags.
const (
	maxPage       = 8 << 20
	maxPart       = 1 << 20 // a tag with its attributes, or a text between two tags
	maxTags       = 1 << 17
	maxAttributes = 1 << 18
)

// Node is a node of a page. It does not change after Parse.
type Node = html.Node

// Parse parses a page in UTF-8 as browsers do, so it accepts malformed and incomplete pages. It
// drops scripts, styles and comments, which are not visible text. Its error wraps ErrPage: more
// than 8 MiB, 131,072 tags, 262,144 attributes or 512 levels, or a token of more than 1 MiB.
func Parse(text string) (root *Node, err error) {
	if err := checkLimits(text); err != nil {
		return nil, err
	}
	defer func() {
		if cause := recover(); cause != nil { // the parser panics at its own limit of levels
			root, err = nil, fmt.Errorf("%w: %.100q", ErrPage, fmt.Sprint(cause))
		}
	}()
	if root, err = html.Parse(strings.NewReader(text)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPage, err)
	}
	removeHidden(root)
	return root, nil
}

// checkLimits checks a page's size before memory is allocated for its tree.
func checkLimits(text string) error {
	if len(text) > maxPage {
		return fmt.Errorf("%w: larger than %d bytes", ErrPage, maxPage)
	}
	parts := html.NewTokenizer(strings.NewReader(text))
	parts.SetMaxBuf(maxPart)
	for tags, attributes := 0, 0; ; {
		switch parts.Next() {
		case html.ErrorToken:
			if err := parts.Err(); !errors.Is(err, io.EOF) {
				return fmt.Errorf("%w: %w", ErrPage, err)
			}
			return nil
		case html.StartTagToken, html.SelfClosingTagToken:
			tags++
			for more := true; more; attributes++ {
				_, _, more = parts.TagAttr()
			}
		case html.TextToken, html.EndTagToken, html.CommentToken, html.DoctypeToken:
		}
		if tags > maxTags || attributes > maxAttributes {
			return fmt.Errorf("%w: more than %d tags or %d attributes", ErrPage, maxTags, maxAttributes)
		}
	}
}

// removeHidden removes the nodes that are not visible text.
func removeHidden(root *Node) {
	var gone []*Node
	for n := range root.Descendants() {
		if n.Type == html.CommentNode || n.Type == html.ElementNode && slices.Contains([]string{"script", "style", "noscript", "template"}, n.Data) {
			gone = append(gone, n)
		}
	}
	for _, n := range gone {
		n.Parent.RemoveChild(n)
	}
}
