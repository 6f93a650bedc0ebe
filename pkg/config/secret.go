package config

import (
	"regexp"
	"strings"
)

const hidden = "***"

var (
	// userinfo is what stands before the last @ of one address of a list.
	userinfo = regexp.MustCompile(`(^|,|://)[^,]*@`)
	// seed is a private NATS key.
	seed = regexp.MustCompile(`\bS[ACNOUX][A-Z2-7]{56}\b`)
)

// mask hides the credentials in an address or a list of them.
func mask(text string) string {
	return hideKey(userinfo.ReplaceAllStringFunc(text, func(found string) string {
		scheme, _, has := strings.Cut(found, "://")
		switch {
		case has && scheme == "": // what stands before is no part of what was found
			return "://" + hidden + "@"
		case has:
			return scheme + "://" + hidden + "@"
		case strings.HasPrefix(found, ","):
			return "," + hidden + "@"
		}
		return hidden + "@"
	}))
}

// hideKey hides a key that was written where the path of its file is due.
func hideKey(text string) string {
	if strings.Contains(text, "-----BEGIN") {
		return hidden
	}
	return seed.ReplaceAllString(text, hidden)
}
