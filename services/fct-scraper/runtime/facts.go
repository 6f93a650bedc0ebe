package runtime

import (
	"errors"

	"fct-scraper/pkg/facts"
)

// ErrNoRules reports a site profile that names no rules for facts.
var ErrNoRules = errors.New("no rules for facts")

// FactRules returns the rules of a file or, if file is empty, those that the profile of a site
// names. Its error is a usage error.
func FactRules(siteName, file string) (*facts.Rules, error) {
	if file != "" {
		rules, err := facts.LoadFile(file)
		if err != nil {
			return nil, Usagef("--rules: %w", err)
		}
		return rules, nil
	}
	profile, err := loadProfile(siteName)
	if err != nil {
		return nil, Usagef("site: %w", err)
	}
	if profile.Facts == "" {
		return nil, Usagef("%w: site %.60q: its profile has no key facts: name rules there, or give --rules",
			ErrNoRules, siteName)
	}
	rules, err := facts.Load(profile.Facts)
	if err != nil {
		return nil, Usagef("site %.60q: %w", siteName, err)
	}
	return rules, nil
}
