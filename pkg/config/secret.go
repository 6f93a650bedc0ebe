package config

import (
	"regexp"
	"slices"
	"strings"
)

const hidden = "***"

// seed is a private NATS key.
var seed = regexp.MustCompile(`\bS[ACNOUX][A-Z2-7]{56}\b`)

// maskList hides the credentials in a list of good addresses.
func maskList(text string) string {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		parts[i] = mask(part)
	}
	return strings.Join(parts, ",")
}

// mask hides what may be credentials: all between a scheme and the last @. Of a list it leaves the last host alone, but no
// password with a comma in it slips through.
func mask(text string) string {
	at := strings.LastIndex(text, "@")
	if at < 0 {
		return hideKey(text)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	scheme, _, found := strings.Cut(text[:at], "://")
	if !found || strings.Trim(strings.ToLower(scheme), letters) != "" {
		return hidden + text[at:]
	}
	return scheme + "://" + hidden + text[at:]
}

// hideKey hides a key that was written where the path of its file is due.
func hideKey(text string) string {
	if strings.Contains(text, "-----BEGIN") {
		return hidden
	}
	return seed.ReplaceAllString(text, hidden)
}

// safe is a value, good or bad, without what may be secret in it. A name that speaks of a secret is no setting, but people
// try it; and an address may stand where it should not.
func (t table) safe(name, text string) string {
	s := t.named[name]
	speaks := func(word string) bool { return strings.Contains(strings.ToLower(name), word) }
	switch {
	case s == nil && slices.ContainsFunc([]string{"pass", "secret", "token", "seed"}, speaks):
		return hidden
	case s == nil || s.isAddress || strings.Contains(text, "://"):
		return mask(text)
	default:
		return hideKey(text)
	}
}
