// Package sanitize makes foreign text safe to print: text from a site, a file or a server must not
// control the terminal, start a new line in a log, or reveal a secret.
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

// isControl reports whether a terminal or browser interprets r instead of showing it: control
// characters, and those that change the direction of text or end a line.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && (r < 0xa0 || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r))
}

// Line returns text as one line: control characters are escaped, as \n or \u202e, and bytes that
// are not UTF-8 as \x80.
func Line(text string) string { return escape(text, "") }

// Truncate is Line for the first most characters of a text, counted before escaping.
func Truncate(text string, most int) string {
	for at := range text {
		if most--; most < 0 {
			return Line(text[:at])
		}
	}
	return Line(text)
}

// Lines is Line for text of several lines: it keeps line ends and tabs.
func Lines(text string) string { return escape(text, "\n\t") }

// Plural returns a count with its noun: 1 retry, 2 retries. of is the singular.
func Plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	if stem, y := strings.CutSuffix(of, "y"); y {
		of = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// Quote quotes a word of a command for a POSIX shell if needed. Control characters are escaped as
// by Line.
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

// escapeRune is the escape of a control character. It never writes \x1b, because the library that
// colours the log reads these four characters as the escape character.
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

// JSON escapes control characters in one or several JSON documents without changing their meaning:
// encoders leave some of them unescaped. Line ends and tabs between the values stay.
func JSON(document []byte) []byte {
	if !slices.ContainsFunc(document, func(b byte) bool { return b >= 0x7f }) { // every such character has a byte of 0x7f or more
		return document
	}
	var shown bytes.Buffer
	for _, r := range string(document) { // a byte that is not UTF-8 becomes U+FFFD, as in every decoder
		if isControlInJSON(r) {
			fmt.Fprintf(&shown, `\u%04x`, r)
		} else {
			shown.WriteRune(r)
		}
	}
	return shown.Bytes()
}

// isControlInJSON reports whether r may occur unescaped in a JSON text and is a control character.
func isControlInJSON(r rune) bool { return r >= ' ' && isControl(r) }

const mask = "***"

var (
	// seedPattern matches a private NATS key or its seed.
	seedPattern = regexp.MustCompile(`\bS[ACNOUX][A-Z2-7]{56}\b`)
	// credentialsPattern matches what RFC 3986 allows between the scheme and the host of an
	// address; JSON encoders write an ampersand as \u0026.
	credentialsPattern = regexp.MustCompile(`://(?:[A-Za-z0-9._~!$&'()*+,;=:%@-]|\\u0026)*@`)
)

// seedLength is the length of a seed of a NATS key.
const seedLength = 58

// Mask replaces passwords and tokens in addresses, and private NATS keys, by ***.
func Mask(text string) string {
	if strings.Contains(text, "://") && strings.Contains(text, "@") {
		text = credentialsPattern.ReplaceAllString(text, "://"+mask+"@")
	}
	if mayContainSeed(text) {
		text = seedPattern.ReplaceAllString(text, mask)
	}
	return text
}

// mayContainSeed reports whether text has a run of seed characters as long as a seed. Every log
// line is checked, and the regular expression alone takes longer than writing the line.
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
