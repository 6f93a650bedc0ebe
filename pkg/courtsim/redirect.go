package courtsim

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	// hopsParameter is the query parameter with the number of further redirects, or hopsForever for
	// a loop.
	hopsParameter = "__hop"
	hopsForever   = "loop"
	chainLength   = 5
	// strayPath is requested by clients that follow a redirect to another origin.
	strayPath = "/__elsewhere"
)

// redirectKinds are redirects. They ask the client to repeat a POST.
func redirectKinds() []faultKind {
	within := func(name, about, hops string) faultKind {
		return faultKind{name: name, about: about, serve: func(w http.ResponseWriter, r *http.Request, _ reply) { redirect(w, r, withHops(r.URL, hops)) }}
	}
	away := func(name, about string, to func(r *http.Request) string) faultKind {
		return faultKind{name: name, about: about, serve: func(w http.ResponseWriter, r *http.Request, _ reply) { redirect(w, r, to(r)) }}
	}
	return []faultKind{
		within("redirect", "one redirect within the origin, then the correct response", "0"),
		within("redirect-chain", "five redirects within the origin, then the correct response", strconv.Itoa(chainLength-1)),
		within("redirect-loop", "an endless chain of redirects within the origin", hopsForever),
		away("redirect-away", "a redirect to another name of this machine, which answers (strays)", func(r *http.Request) string {
			return "http://" + otherHost(r.Host) + strayPath
		}),
		away("redirect-user", "a redirect to the same host with a name and a password", func(r *http.Request) string {
			return "http://somebody:secret@" + r.Host + strayPath
		}),
		away("redirect-scheme", "a redirect to the same host by another scheme (gopher)", func(r *http.Request) string {
			return "gopher://" + r.Host + r.URL.RequestURI()
		}),
		away("redirect-local", "a redirect to the link-local address 169.254.169.254", func(*http.Request) string {
			return "http://169.254.169.254/latest/meta-data/"
		}),
	}
}

// redirect redirects with a status that keeps the method.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	status := http.StatusFound
	if r.Method != http.MethodGet {
		status = http.StatusTemporaryRedirect
	}
	w.Header().Set("Location", to)
	w.WriteHeader(status)
}

// continueRedirect sends the next redirect of a chain; it returns false after the last one.
func continueRedirect(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.RawQuery, hopsParameter+"=") {
		return false
	}
	left := r.URL.Query().Get(hopsParameter)
	if left == hopsForever {
		redirect(w, r, withHops(r.URL, left))
		return true
	}
	n, err := plainNumber(left)
	if err != nil || n < 1 {
		return false
	}
	redirect(w, r, withHops(r.URL, strconv.Itoa(n-1)))
	return true
}

// wasRedirected reports whether a redirect led here, so that the request gets no second fault.
func wasRedirected(u *url.URL) bool { return strings.Contains(u.RawQuery, hopsParameter+"=") }

func withHops(u *url.URL, hops string) string {
	query := u.Query()
	query.Set(hopsParameter, hops)
	return u.EscapedPath() + "?" + query.Encode()
}

// otherHost returns another name of the same loopback host, with the same port.
func otherHost(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, "80"
	}
	if name == "localhost" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return net.JoinHostPort("localhost", port)
}
