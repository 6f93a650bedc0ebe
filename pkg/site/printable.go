package site

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// printable is the beginning of a text from outside, of at most so many characters, for an error: what is no plain character
// (control characters, those that turn the direction of a line, bytes that are no text) is written as Go writes it.
func printable(text string, most int) string {
	var b strings.Builder
	for range most {
		r, size := utf8.DecodeRuneInString(text)
		if size == 0 {
			break
		}
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteString(text[:size])
		} else {
			quoted := strconv.Quote(text[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		text = text[size:]
	}
	return b.String()
}
