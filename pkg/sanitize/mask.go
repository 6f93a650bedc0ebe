package sanitize

import (
	"regexp"
	"strings"
)

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
