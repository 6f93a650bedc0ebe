package fcttest

import (
	"strings"
	"unicode"
)

// HasControl reports whether text has a character that steers a terminal or breaks a line. With
// lines, line feeds are allowed.
func HasControl(text string, lines bool) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		if lines && r == '\n' {
			return false
		}
		return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
	})
}
