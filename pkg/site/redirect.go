package site

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
)

// maxRedirects is how many redirects in a row are followed.
const maxRedirects = 3

// redirectTarget returns the request that a response redirects to. It stays within the origin and
// uses GET: a form is never posted again, although 307 and 308 ask for that.
func (c *Client) redirectTarget(r request, x contract.Exchange, location string) (request, bool) {
	if x.Error != "" || !isRedirect(x.Status) || r.method != http.MethodGet && x.Status >= http.StatusTemporaryRedirect {
		return request{}, false
	}
	to, err := c.sameOriginTarget(x.URL, location)
	return request{call: r.call, method: http.MethodGet, url: to}, err == nil
}

// sameOriginTarget returns the target of a redirect, without its fragment, if it is at the site's
// origin.
func (c *Client) sameOriginTarget(from, location string) (string, error) {
	at, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	to, err := at.Parse(location)
	if err != nil || location == "" {
		return "", fmt.Errorf("a redirect to %.100q", location)
	}
	if to.User != nil || to.Opaque != "" || canonicalOrigin(to) != parseOrigin(c.Origin) {
		return "", fmt.Errorf("redirected to %.100q, which is not at the origin %s", to.Redacted(), c.Origin)
	}
	to.Fragment, to.RawFragment = "", ""
	return to.String(), nil
}

func isRedirect(status int) bool {
	return slices.Contains([]int{
		http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect,
	}, status)
}

// wasFollowed reports whether the next exchange is the target of this redirect.
func wasFollowed(exchanges []contract.Exchange, index int) bool {
	return isRedirect(exchanges[index].Status) && index+1 < len(exchanges) && exchanges[index+1].Call == exchanges[index].Call
}

// canonicalOrigin returns scheme, host and port of a URL in a form that can be compared.
func canonicalOrigin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// parseOrigin returns the canonical form of a checked origin.
func parseOrigin(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return canonicalOrigin(u)
}
