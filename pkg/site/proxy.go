package site

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"fct-scraper/pkg/loopback"
	"fct-scraper/pkg/sanitize"

	"golang.org/x/net/http/httpproxy"
)

// NoProxy is the setting that disables proxies, including those from the environment.
const NoProxy = "none"

const proxyFormats = "allowed is [scheme://][user:password@]host[:port], the scheme http, https, socks5 or socks5h"

// FindProxy returns the proxy for requests to an origin, nil for none. The setting takes precedence
// over HTTPS_PROXY and HTTP_PROXY, which are read in upper and lower case as Go does. NO_PROXY
// lists hosts to reach directly. A proxy from the environment is never used for a loopback host.
// The error may name the variable but contains no password.
func FindProxy(origin, setting string, variable func(name string) string) (*url.URL, error) {
	target, err := url.Parse(origin)
	if err != nil || setting == NoProxy {
		return nil, nil //nolint:nilerr // an origin is checked by NewClient
	}
	either := func(name string) (value, from string) {
		if value := variable(name); value != "" {
			return value, name
		}
		return variable(strings.ToLower(name)), strings.ToLower(name)
	}
	except, _ := either("NO_PROXY")
	if setting != "" {
		if isExcepted(target, except) {
			return nil, nil
		}
		return ParseProxy(setting)
	}
	text, from := either(strings.ToUpper(target.Scheme) + "_PROXY")
	if text == "" || loopback.IsHost(target.Hostname()) || isExcepted(target, except) {
		return nil, nil
	}
	proxy, err := ParseProxy(text)
	if err != nil {
		return nil, fmt.Errorf("$%s: %w", from, err)
	}
	return proxy, nil
}

// isExcepted reports whether NO_PROXY covers the host of a URL. The library never uses a proxy for
// loopback hosts, so those are matched here, for a proxy that was set explicitly.
func isExcepted(target *url.URL, except string) bool {
	config := httpproxy.Config{HTTPProxy: "http://proxy.invalid", HTTPSProxy: "http://proxy.invalid", NoProxy: except}
	if !loopback.IsHost(target.Hostname()) {
		proxy, err := config.ProxyFunc()(target)
		return err == nil && proxy == nil
	}
	return slices.ContainsFunc(strings.Split(except, ","), func(entry string) bool {
		entry = strings.Trim(strings.ToLower(strings.TrimSpace(entry)), "[]")
		host := strings.ToLower(target.Hostname())
		address, err := netip.ParseAddr(host)
		network, notNetwork := netip.ParsePrefix(entry)
		return entry == "*" || entry == host || entry == strings.ToLower(target.Host) ||
			err == nil && notNetwork == nil && network.Contains(address)
	})
}

// ParseProxy parses the address of a proxy; the default scheme is http. Its error contains no
// password.
func ParseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	proxy, err := url.Parse(text)
	if err != nil { // its text may hold the password
		return nil, fmt.Errorf("proxy: not a URL: %s", proxyFormats)
	}
	if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) || !isOrigin(proxy) {
		shown := *proxy
		shown.User = nil
		return nil, fmt.Errorf("proxy %s: %s", sanitize.Truncate(shown.String(), 100), proxyFormats)
	}
	return proxy, nil
}

// proxyConnectError describes a proxy's refusal to connect; the transport's own error is a bare
// status.
func proxyConnectError(_ context.Context, proxy *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("proxy %s does not connect to the site: status %d %s",
		proxy.Host, response.StatusCode, http.StatusText(response.StatusCode))
}
