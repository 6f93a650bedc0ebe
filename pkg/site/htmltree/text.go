package htmltree

import (
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// Text is what a reader of the page sees of a node, without the space around it: markup is left out, and where it begins
// a new line so does the text.
func Text(n *Node) string {
	if n.FirstChild != nil && n.FirstChild == n.LastChild && n.FirstChild.Type == html.TextNode {
		return strings.TrimSpace(n.FirstChild.Data)
	}
	var b strings.Builder
	writeText(&b, n)
	return strings.TrimSpace(b.String())
}

// writeText goes as deep as the page does, which has at most 512 levels.
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

// newLine ends a line that was begun; an empty one is none.
func newLine(b *strings.Builder) {
	if text := b.String(); text != "" && !strings.HasSuffix(text, "\n") {
		b.WriteByte('\n')
	}
}

// CollapseSpace is a text in one line with one space between its words, as a label or a heading is compared.
func CollapseSpace(text string) string { return strings.Join(strings.Fields(text), " ") }

// Attribute is the value of an attribute; empty when there is none.
func Attribute(n *Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// Elements are a node's children that are elements.
func Elements(n *Node) []*Node {
	var all []*Node
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		if child.Type == html.ElementNode {
			all = append(all, child)
		}
	}
	return all
}
