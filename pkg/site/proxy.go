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

// NoProxy is the setting by which no proxy is used, whatever the environment says.
const NoProxy = "none"

const proxyFormats = "allowed is [scheme://][user:password@]host[:port], the scheme http, https, socks5 or socks5h"

// FindProxy is the proxy by which the requests to an origin go, nil for none: that of setting, else
// that of the variables HTTPS_PROXY and HTTP_PROXY, in capitals or small letters, as Go reads them.
// NO_PROXY names hosts that are asked without one. A proxy from the environment is never used for
// this machine. The error names the variable or nothing, and no password.
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

// isExcepted says whether NO_PROXY names the host of a URL. The library never has this machine asked
// by a proxy; what the list says of it counts all the same, for a proxy that was set for it.
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

// ParseProxy reads the address of a proxy; without a scheme it is http. Its error repeats no
// password.
func ParseProxy(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	proxy, err := url.Parse(text)
	if err != nil { // its words repeat the text
		return nil, fmt.Errorf("proxy: not a URL: %s", proxyFormats)
	}
	if !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) || !isOrigin(proxy) {
		shown := *proxy
		shown.User = nil
		return nil, fmt.Errorf("proxy %s: %s", sanitize.Truncate(shown.String(), 100), proxyFormats)
	}
	return proxy, nil
}

// proxyConnectError makes an error of an answer of a proxy that does not connect us; the transport's
// own is a bare status.
func proxyConnectError(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("proxy %s does not connect to the site: status %d %s",
		proxy.Host, answer.StatusCode, http.StatusText(answer.StatusCode))
}
