package jsontree

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// string reads a string. Control characters stand for themselves in it, line ends included. One without escapes, and most are, is a part of the text itself.
func (p *parser) string() (string, error) {
	p.pos++
	from := p.pos
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case '"':
			p.pos++
			return p.text[from : p.pos-1], nil
		case '\\':
			return p.unescape(from)
		default:
			p.pos++
		}
	}
	return "", p.syntaxError("a string without an end")
}

// unescape reads a string with escapes that starts at from; all before p.at is plain.
func (p *parser) unescape(from int) (string, error) {
	var b strings.Builder
	for plain := from; p.pos < len(p.text); {
		switch p.text[p.pos] {
		case '"':
			b.WriteString(p.text[plain:p.pos])
			p.pos++
			return b.String(), nil
		case '\\':
			b.WriteString(p.text[plain:p.pos])
			r, ok := p.escape()
			if !ok {
				return "", p.syntaxError("an escape that is none")
			}
			b.WriteRune(r)
			plain = p.pos
		default:
			p.pos++
		}
	}
	return "", p.syntaxError("a string without an end")
}

// escape reads one escape and steps behind it. Half a surrogate pair is the replacement character, as everywhere in Go.
func (p *parser) escape() (rune, bool) {
	if len(p.text)-p.pos < 2 {
		return 0, false
	}
	if c := p.text[p.pos+1]; c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false
		}
		p.pos += 2
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	r, ok := p.codeUnit()
	if !ok || !utf16.IsSurrogate(r) {
		return r, ok
	}
	before := p.pos
	if second, ok := p.codeUnit(); ok {
		if whole := utf16.DecodeRune(r, second); whole != utf8.RuneError {
			return whole, true
		}
	}
	p.pos = before
	return utf8.RuneError, true
}

// codeUnit reads \uXXXX and steps behind it.
func (p *parser) codeUnit() (rune, bool) {
	const size = len(`\u0000`)
	if len(p.text)-p.pos < size || p.text[p.pos:p.pos+2] != `\u` {
		return 0, false
	}
	digits := p.text[p.pos+2 : p.pos+size]
	if strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return 0, false
	}
	// Four hexadecimal digits always make a number.
	value, _ := strconv.ParseUint(digits, 16, 16)
	p.pos += size
	return rune(value), true
}

// number reads a number and keeps it as it was written.
func (p *parser) number(n *Node) error {
	from := p.pos
	p.skipByte('-')
	if !p.skipByte('0') && !p.skipDigits() {
		return p.syntaxError("no value")
	}
	if p.skipByte('.') && !p.skipDigits() {
		return p.syntaxError("a number without digits after its point")
	}
	if p.skipByte('e') || p.skipByte('E') {
		if !p.skipByte('+') {
			p.skipByte('-')
		}
		if !p.skipDigits() {
			return p.syntaxError("a number without digits in its exponent")
		}
	}
	n.Kind, n.Text = Number, p.text[from:p.pos]
	return nil
}

func (p *parser) skipByte(c byte) bool {
	if p.pos == len(p.text) || p.text[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

// skipDigits steps over digits and says whether there were any.
func (p *parser) skipDigits() bool {
	from := p.pos
	for p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9' {
		p.pos++
	}
	return p.pos > from
}
