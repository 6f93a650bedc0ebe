package health

import (
	"net"
	"net/http"
	"strings"

	"fct-scraper/pkg/loopback"
)

// guard lets those requests alone to next that name this server, and has every answer, that it does not understand a path included, say
// what a browser may do with it: nothing. A page that was read under a name of somebody else's could be looked into by him (DNS rebinding).
func guard(listen string, next http.Handler) http.Handler {
	configured, _, _ := net.SplitHostPort(listen) // it was listened on
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
			respond(w, http.StatusMisdirectedRequest, "this server is not asked under that Host: use its address")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// namesServer says whether the Host of a request is this machine, what the server was told to listen on, or the address that was
// connected to.
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
