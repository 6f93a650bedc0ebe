package jsontree

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrSyntax marks every error of a text that is not one JSON value.
var ErrSyntax = errors.New("not one JSON value")

// Limits of a text; a court's answers are 4 deep, and one of 16 MiB has half a million values.
const (
	maxDepth  = 200
	maxValues = 1 << 20
)

// Parse reads the one JSON value (RFC 8259) that text must be. Strings may hold control characters as they are, which some
// servers forget to escape: where a string ends is plain all the same. Two members of one name, text that is not UTF-8, more than
// 200 levels or 1,048,576 values are errors too. Every error wraps ErrSyntax. The tree holds on to text.
func Parse(text string) (*Node, error) {
	p := parser{text: text}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrSyntax)
	}
	root, err := p.node()
	if err != nil {
		return nil, err
	}
	p.skipSpace()
	if err := p.value(root, 0); err != nil {
		return nil, err
	}
	if p.skipSpace(); p.pos < len(p.text) {
		return nil, p.syntaxError("something after the value")
	}
	return root, nil
}

type parser struct {
	text string
	pos  int
	// unused are nodes that were made together and are not used yet; made counts all of them.
	unused    []Node
	allocated int
}

func (p *parser) syntaxError(what string) error {
	return fmt.Errorf("%w: byte %d: %s", ErrSyntax, p.pos, what)
}

// node takes the next free node. Nodes are made in lots: one by one they are most of the time that parsing takes.
func (p *parser) node() (*Node, error) {
	if len(p.unused) == 0 {
		lot := min(max(8, len(p.text)/32), 1024, maxValues-p.allocated)
		if lot == 0 {
			return nil, p.syntaxError("too many values")
		}
		p.allocated += lot
		p.unused = make([]Node, lot)
	}
	n := &p.unused[0]
	p.unused = p.unused[1:]
	return n, nil
}

func (p *parser) skipSpace() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// skipToken steps over c, and the space around it, if it comes next.
func (p *parser) skipToken(c byte) bool {
	p.skipSpace()
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return false
	}
	p.pos++
	p.skipSpace()
	return true
}

func (p *parser) value(n *Node, depth int) error {
	if p.pos == len(p.text) {
		return p.syntaxError("it ends too early")
	}
	if depth > maxDepth {
		return p.syntaxError("too deep")
	}
	switch p.text[p.pos] {
	case '{':
		return p.object(n, depth)
	case '[':
		return p.list(n, depth)
	case '"':
		text, err := p.string()
		n.Kind, n.Text = String, text
		return err
	case 't':
		return p.literal(n, Bool, "true")
	case 'f':
		return p.literal(n, Bool, "false")
	case 'n':
		return p.literal(n, Null, "null")
	default:
		return p.number(n)
	}
}

func (p *parser) literal(n *Node, kind Kind, word string) error {
	if len(p.text)-p.pos < len(word) || p.text[p.pos:p.pos+len(word)] != word {
		return p.syntaxError("no value")
	}
	p.pos += len(word)
	if n.Kind = kind; kind == Bool {
		n.Text = word
	}
	return nil
}

func (p *parser) list(n *Node, depth int) error {
	n.Kind = Array
	p.pos++
	if p.skipToken(']') {
		return nil
	}
	for last := (*Node)(nil); ; {
		child, err := p.child(n, last)
		if err != nil {
			return err
		}
		if err := p.value(child, depth+1); err != nil {
			return err
		}
		if last = child; p.skipToken(']') {
			return nil
		}
		if !p.skipToken(',') {
			return p.syntaxError("neither a comma nor the end of a list")
		}
	}
}

func (p *parser) object(n *Node, depth int) error {
	n.Kind = Object
	p.pos++
	if p.skipToken('}') {
		return nil
	}
	var names nameSet
	for last := (*Node)(nil); ; {
		child, err := p.member(n, last, &names)
		if err != nil {
			return err
		}
		if err := p.value(child, depth+1); err != nil {
			return err
		}
		if last = child; p.skipToken('}') {
			return nil
		}
		if !p.skipToken(',') {
			return p.syntaxError("neither a comma nor the end of an object")
		}
	}
}

// member reads a member's name and makes its node.
func (p *parser) member(n, last *Node, names *nameSet) (*Node, error) {
	if p.pos == len(p.text) || p.text[p.pos] != '"' {
		return nil, p.syntaxError("no name of a member")
	}
	name, err := p.string()
	if err != nil {
		return nil, err
	}
	if !names.add(n, name) {
		return nil, p.syntaxError("two members of one name")
	}
	if !p.skipToken(':') {
		return nil, p.syntaxError("no colon")
	}
	child, err := p.child(n, last)
	if err == nil {
		child.Name = name
	}
	return child, err
}

// child makes the node after last, which is nil for the first.
func (p *parser) child(parent, last *Node) (*Node, error) {
	child, err := p.node()
	if err != nil {
		return nil, err
	}
	if child.Parent = parent; last == nil {
		parent.First = child
	} else {
		last.Next = child
	}
	return child, nil
}

// nameSet are those of an object's members so far: a look at each of them while they are few, a set when they are many.
type nameSet struct {
	count int
	set   map[string]bool
}

const linearLimit = 32

// add says whether the name is new to the object.
func (s *nameSet) add(n *Node, name string) bool {
	s.count++
	if s.count <= linearLimit {
		return n.Member(name) == nil
	}
	if s.set == nil {
		s.set = make(map[string]bool)
		for child := n.First; child != nil; child = child.Next {
			s.set[child.Name] = true
		}
	}
	if s.set[name] {
		return false
	}
	s.set[name] = true
	return true
}
