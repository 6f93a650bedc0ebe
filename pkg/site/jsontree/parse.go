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
	p.space()
	if err := p.value(root, 0); err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.wrong("something after the value")
	}
	return root, nil
}

type parser struct {
	text string
	at   int
	// free are nodes that were made together and are not used yet; made counts all of them.
	free []Node
	made int
}

func (p *parser) wrong(what string) error {
	return fmt.Errorf("%w: byte %d: %s", ErrSyntax, p.at, what)
}

// node takes the next free node. Nodes are made in lots: one by one they are most of the time that parsing takes.
func (p *parser) node() (*Node, error) {
	if len(p.free) == 0 {
		lot := min(max(8, len(p.text)/32), 1024, maxValues-p.made)
		if lot == 0 {
			return nil, p.wrong("too many values")
		}
		p.made += lot
		p.free = make([]Node, lot)
	}
	n := &p.free[0]
	p.free = p.free[1:]
	return n, nil
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next steps over c, and the space around it, if it comes next.
func (p *parser) next(c byte) bool {
	p.space()
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	p.space()
	return true
}

func (p *parser) value(n *Node, depth int) error {
	if p.at == len(p.text) {
		return p.wrong("it ends too early")
	}
	if depth > maxDepth {
		return p.wrong("too deep")
	}
	switch p.text[p.at] {
	case '{':
		return p.object(n, depth)
	case '[':
		return p.list(n, depth)
	case '"':
		text, err := p.str()
		n.Kind, n.Text = String, text
		return err
	case 't':
		return p.word(n, Bool, "true")
	case 'f':
		return p.word(n, Bool, "false")
	case 'n':
		return p.word(n, Null, "null")
	default:
		return p.number(n)
	}
}

func (p *parser) word(n *Node, kind Kind, word string) error {
	if len(p.text)-p.at < len(word) || p.text[p.at:p.at+len(word)] != word {
		return p.wrong("no value")
	}
	p.at += len(word)
	if n.Kind = kind; kind == Bool {
		n.Text = word
	}
	return nil
}

func (p *parser) list(n *Node, depth int) error {
	n.Kind = Array
	p.at++
	if p.next(']') {
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
		if last = child; p.next(']') {
			return nil
		}
		if !p.next(',') {
			return p.wrong("neither a comma nor the end of a list")
		}
	}
}

func (p *parser) object(n *Node, depth int) error {
	n.Kind = Object
	p.at++
	if p.next('}') {
		return nil
	}
	var names names
	for last := (*Node)(nil); ; {
		child, err := p.member(n, last, &names)
		if err != nil {
			return err
		}
		if err := p.value(child, depth+1); err != nil {
			return err
		}
		if last = child; p.next('}') {
			return nil
		}
		if !p.next(',') {
			return p.wrong("neither a comma nor the end of an object")
		}
	}
}

// member reads a member's name and makes its node.
func (p *parser) member(n, last *Node, names *names) (*Node, error) {
	if p.at == len(p.text) || p.text[p.at] != '"' {
		return nil, p.wrong("no name of a member")
	}
	name, err := p.str()
	if err != nil {
		return nil, err
	}
	if !names.add(n, name) {
		return nil, p.wrong("two members of one name")
	}
	if !p.next(':') {
		return nil, p.wrong("no colon")
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

// names are those of an object's members so far: a look at each of them while they are few, a set when they are many.
type names struct {
	count int
	set   map[string]bool
}

const few = 32

// add says whether the name is new to the object.
func (s *names) add(n *Node, name string) bool {
	s.count++
	if s.count <= few {
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
