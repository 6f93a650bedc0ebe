package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/site"
)

// requireContact refuses an empty contact for a site that is not loopback: its operators must be
// able to reach whoever sends the requests.
func (l *loader) requireContact() {
	s := l.settings
	if strings.TrimSpace(s.Contact) != "" || l.bad["contact"] || l.bad["site"] || l.bad["base_url"] {
		return
	}
	origin := s.origin()
	if u, err := url.Parse(origin); origin == "" || err != nil || loopback.IsHost(u.Hostname()) {
		return
	}
	l.problems = append(l.problems, fmt.Sprintf("%s: contact = %q: want an e-mail address or URL at which the operators of %s can reach you",
		s.origins["contact"], s.Contact, origin))
}

// origin is the origin of the site: base_url, or that of the profile. It is empty if the profile
// has none, as the simulator's, or cannot be read; opening it reports why.
func (s *Settings) origin() string {
	if s.BaseURL != "" {
		return s.BaseURL
	}
	load := site.LoadFile
	if slices.Contains(site.BuiltIn(), s.Site) {
		load = site.Load
	}
	profile, err := load(s.Site)
	if err != nil {
		return ""
	}
	return profile.Origin
}
