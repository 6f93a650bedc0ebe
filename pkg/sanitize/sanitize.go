// Package sanitize makes foreign text safe to print: text from a site, a file or a broker must not control the
// terminal, start a new line in a log, or show a secret.
package sanitize

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// isControl says whether a terminal or a browser would do something with r instead of showing it: control characters, those
// that turn the direction of text round, and those that end a line.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && (r < 0xa0 || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r))
}

// Line is text as one line: what would steer is written as an escape such as \n or \u202e, a byte that is no UTF-8 as \x80.
func Line(text string) string { return escape(text, "") }

// Truncate is Text for the beginning of a text, of so many characters at most before any is escaped.
func Truncate(text string, most int) string {
	for at := range text {
		if most--; most < 0 {
			return Line(text[:at])
		}
	}
	return Line(text)
}

// Lines is Text for what has lines of its own: line ends and tabs stay.
func Lines(text string) string { return escape(text, "\n\t") }

// Plural is a number of things in words: 1 retry, 2 retries. The name of the thing is in the singular.
func Plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	if stem, y := strings.CutSuffix(of, "y"); y {
		of = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// Quote is a word of a command, quoted for a POSIX shell where that is needed. It holds no control character: see Text.
func Quote(word string) string {
	bare := func(r rune) bool {
		return r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("-_./:=,+@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !bare(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(Line(word), "'", `'\''`) + "'"
}

func escape(text, kept string) string {
	good := func(r rune, size int) bool {
		return (r != utf8.RuneError || size > 1) && (!isControl(r) || strings.ContainsRune(kept, r))
	}
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		if !good(r, size) {
			break
		}
		at += size
	}
	if at == len(text) {
		return text
	}
	var shown strings.Builder
	shown.WriteString(text[:at])
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		switch {
		case good(r, size):
			shown.WriteString(text[at : at+size])
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&shown, `\x%02x`, text[at])
		default:
			shown.WriteString(escapeRune(r))
		}
		at += size
	}
	return shown.String()
}

// escapeRune is how a character that steers is written. A control character is never written as \x1b: the library that colours
// the log takes these four characters for the escape itself.
func escapeRune(r rune) string {
	switch r {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	default:
		return fmt.Sprintf(`\u%04x`, r)
	}
}

// JSON is a JSON document, or several, of the same meaning in which nothing steers: encoders leave some such characters
// alone. Line ends and tabs between the values stay.
func JSON(document []byte) []byte {
	if !slices.ContainsFunc(document, func(b byte) bool { return b >= 0x7f }) { // nothing that is hidden is written without
		return document
	}
	var shown bytes.Buffer
	for _, r := range string(document) { // a byte that is no UTF-8 becomes U+FFFD, as every decoder reads it
		if isControlInJSON(r) {
			fmt.Fprintf(&shown, `\u%04x`, r)
		} else {
			shown.WriteRune(r)
		}
	}
	return shown.Bytes()
}

// isControlInJSON is what may stand inside a JSON text and steers.
func isControlInJSON(r rune) bool { return r >= ' ' && isControl(r) }

const mask = "***"

var (
	// seedPattern is a private NATS key, or a seed of one.
	seedPattern = regexp.MustCompile(`\bS[ACNOUX][A-Z2-7]{56}\b`)
	// credentialsPattern are what stands between the scheme and the host of an address, by what RFC 3986 allows there; the
	// encoder of JSON writes an ampersand as \u0026.
	credentialsPattern = regexp.MustCompile(`://(?:[A-Za-z0-9._~!$&'()*+,;=:%@-]|\\u0026)*@`)
)

// seedLength is how long a seed of a NATS key is.
const seedLength = 58

// Mask is text with *** in the place of passwords and tokens in addresses, and of private NATS keys.
func Mask(text string) string {
	if strings.Contains(text, "://") && strings.Contains(text, "@") {
		text = credentialsPattern.ReplaceAllString(text, "://"+mask+"@")
	}
	if mayContainSeed(text) {
		text = seedPattern.ReplaceAllString(text, mask)
	}
	return text
}

// mayContainSeed says whether text has as many letters and digits of a seed in a row as a seed has. Every log line is asked, and the
// expression alone takes longer than writing the line.
func mayContainSeed(text string) bool {
	for end := seedLength; end <= len(text); {
		at := end - 1
		for at >= end-seedLength && isSeedByte(text[at]) {
			at--
		}
		if at < end-seedLength {
			return true
		}
		end = at + 1 + seedLength
	}
	return false
}

func isSeedByte(b byte) bool { return b >= 'A' && b <= 'Z' || b >= '2' && b <= '7' }
