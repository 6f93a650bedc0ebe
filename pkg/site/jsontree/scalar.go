package jsontree

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string. Control characters stand for themselves in it, line ends included. One without escapes, and most are, is a part of the text itself.
func (p *parser) str() (string, error) {
	p.at++
	from := p.at
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case '"':
			p.at++
			return p.text[from : p.at-1], nil
		case '\\':
			return p.escaped(from)
		default:
			p.at++
		}
	}
	return "", p.wrong("a string without an end")
}

// escaped reads a string with escapes that starts at from; all before p.at is plain.
func (p *parser) escaped(from int) (string, error) {
	var b strings.Builder
	for plain := from; p.at < len(p.text); {
		switch p.text[p.at] {
		case '"':
			b.WriteString(p.text[plain:p.at])
			p.at++
			return b.String(), nil
		case '\\':
			b.WriteString(p.text[plain:p.at])
			r, ok := p.escape()
			if !ok {
				return "", p.wrong("an escape that is none")
			}
			b.WriteRune(r)
			plain = p.at
		default:
			p.at++
		}
	}
	return "", p.wrong("a string without an end")
}

// escape reads one escape and steps behind it. Half a surrogate pair is the replacement character, as everywhere in Go.
func (p *parser) escape() (rune, bool) {
	if len(p.text)-p.at < 2 {
		return 0, false
	}
	if c := p.text[p.at+1]; c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false
		}
		p.at += 2
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := p.unit()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	before := p.at
	if second, ok := p.unit(); ok {
		if whole := utf16.DecodeRune(r, second); whole != utf8.RuneError {
			return whole, true
		}
	}
	p.at = before
	return utf8.RuneError, true
}

// unit reads \uXXXX and steps behind it.
func (p *parser) unit() (rune, bool) {
	const size = len(`\u0000`)
	if len(p.text)-p.at < size || p.text[p.at:p.at+2] != `\u` {
		return 0, false
	}
	digits := p.text[p.at+2 : p.at+size]
	if strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	// Four hexadecimal digits always make a number.
	value, _ := strconv.ParseUint(digits, 16, 16)
	p.at += size
	return rune(value), true
}

// number reads a number and keeps it as it was written.
func (p *parser) number(n *Node) error {
	from := p.at
	p.skip('-')
	if !p.skip('0') && !p.digits() {
		return p.wrong("no value")
	}
	if p.skip('.') && !p.digits() {
		return p.wrong("a number without digits after its point")
	}
	if p.skip('e') || p.skip('E') {
		if !p.skip('+') {
			p.skip('-')
		}
		if !p.digits() {
			return p.wrong("a number without digits in its exponent")
		}
	}
	n.Kind, n.Text = Number, p.text[from:p.at]
	return nil
}

func (p *parser) skip(c byte) bool {
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

// digits steps over digits and says whether there were any.
func (p *parser) digits() bool {
	from := p.at
	for p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9' {
		p.at++
	}
	return p.at > from
}
