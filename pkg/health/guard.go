package health

import (
	"net"
	"net/http"
	"strings"

	"fct-scraper/pkg/loopback"
)

// guard passes only requests that name this server to next, and adds headers to every response that
// forbid a browser to use it. Otherwise a page under a foreign name could read it (DNS rebinding).
func guard(listen string, next http.Handler) http.Handler {
	configured, _, _ := net.SplitHostPort(listen) // the server listens there
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":                "no-store",
		} {
			w.Header().Set(name, value)
		}
		if !namesServer(r, configured) {
			respond(w, http.StatusMisdirectedRequest, "wrong Host for this server: use its address")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// namesServer reports whether the Host of a request is this machine, the configured address, or the
// address of the connection.
func namesServer(r *http.Request, configured string) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if loopback.IsHost(host) || configured != "" && strings.EqualFold(host, configured) {
		return true
	}
	at, isTCP := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	ip := net.ParseIP(host)
	return isTCP && ip != nil && ip.Equal(at.IP)
}
