package config

import (
	"slices"
	"strings"

	"fct-scraper/pkg/sanitize"
)

const hidden = "***"

// maskAddresses masks the credentials in a list of valid addresses.
func maskAddresses(text string) string {
	parts := strings.Split(text, ",")
	for i, part := range parts {
		parts[i] = maskAddress(part)
	}
	return strings.Join(parts, ",")
}

// maskAddress masks possible credentials: everything between a scheme and the last @. In a list it
// keeps only the last host, so that no password with a comma is shown.
func maskAddress(text string) string {
	at := strings.LastIndex(text, "@")
	if at < 0 {
		return maskKey(text)
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	scheme, _, found := strings.Cut(text[:at], "://")
	if !found || strings.Trim(strings.ToLower(scheme), letters) != "" {
		return hidden + text[at:]
	}
	return scheme + "://" + hidden + text[at:]
}

// maskKey masks a key that was given instead of the path of its file.
func maskKey(text string) string {
	if strings.Contains(text, "-----BEGIN") {
		return hidden
	}
	return sanitize.Mask(text)
}

// withoutSecrets masks possible secrets in a value, valid or not. A name that mentions a secret is
// no setting, but people try it; and an address may be given for a wrong setting.
func (t table) withoutSecrets(name, text string) string {
	s := t.byName[name]
	speaks := func(word string) bool { return strings.Contains(strings.ToLower(name), word) }
	switch {
	case s == nil && slices.ContainsFunc([]string{"pass", "secret", "token", "seed"}, speaks):
		return hidden
	case s == nil || s.isAddress || strings.Contains(text, "://"):
		return maskAddress(text)
	default:
		return maskKey(text)
	}
}
