package htmltree

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// Text returns the visible text of a node, trimmed, with line breaks where the markup starts a new
// line.
func Text(n *Node) string {
	if n.FirstChild != nil && n.FirstChild == n.LastChild && n.FirstChild.Type == html.TextNode {
		return strings.TrimSpace(n.FirstChild.Data)
	}
	var b strings.Builder
	writeText(&b, n)
	return strings.TrimSpace(b.String())
}

// writeText recurses at most 512 levels, the limit of a page.
func writeText(b *strings.Builder, n *Node) {
	if n.Type == html.TextNode {
		b.WriteString(n.Data)
		return
	}
	line := n.Type == html.ElementNode && slices.Contains([]string{"br", "p", "div", "li", "tr"}, n.Data)
	if line {
		newLine(b)
	}
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		writeText(b, child)
	}
	if line && n.Data != "br" {
		newLine(b)
	}
}

// newLine ends the current line unless it is empty.
func newLine(b *strings.Builder) {
	if text := b.String(); text != "" && !strings.HasSuffix(text, "\n") {
		b.WriteByte('\n')
	}
}

// CollapseSpace returns text in one line with single spaces, for comparing labels and headings.
func CollapseSpace(text string) string { return strings.Join(strings.Fields(text), " ") }

// Attribute returns the value of an attribute; empty if there is none.
func Attribute(n *Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// Elements returns the children that are elements.
func Elements(n *Node) []*Node {
	var all []*Node
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		if child.Type == html.ElementNode {
			all = append(all, child)
		}
	}
	return all
}
