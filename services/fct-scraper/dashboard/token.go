package dashboard

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
)

const (
	loginPath = "/login"
	// cookieName is the cookie of a browser that knows the token.
	cookieName = "fct_session"
)

// requireToken passes only requests that know the token, if there is one. Others get the login form,
// or 401 from the API.
func (d *Dashboard) requireToken(next http.Handler) http.Handler {
	if d.Token == "" {
		return next
	}
	public := []string{loginPath, cssPath, iconPath}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case slices.Contains(public, r.URL.Path), d.knowsToken(r):
			next.ServeHTTP(w, r)
		case r.Method == http.MethodGet && r.URL.Path == "/":
			http.Redirect(w, r, loginPath, http.StatusSeeOther)
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			writeError(w, http.StatusUnauthorized, "want the header Authorization: Bearer <http_token>, or a login at "+loginPath)
		}
	})
}

// knowsToken reports whether a request has the token as a bearer token, or the cookie of a login.
func (d *Dashboard) knowsToken(r *http.Request) bool {
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return equalSecret(token, d.Token)
	}
	cookie, err := r.Cookie(cookieName)
	return err == nil && equalSecret(cookie.Value, d.session())
}

// equalSecret compares two secrets in a time that depends on neither, nor on their lengths.
func equalSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// session is the value of the cookie: it proves the token without containing it.
func (d *Dashboard) session() string {
	mac := hmac.New(sha256.New, []byte(d.Token))
	mac.Write([]byte("session of the page of fct-scraper"))
	return hex.EncodeToString(mac.Sum(nil))
}

// logIn sets the cookie if the form has the token.
func (d *Dashboard) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
	if d.Token == "" || !equalSecret(r.PostFormValue("token"), d.Token) {
		http.Redirect(w, r, loginPath+"#wrong", http.StatusSeeOther)
		return
	}
	d.setCookie(w, r, d.session(), 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// logOut removes the cookie.
func (d *Dashboard) logOut(w http.ResponseWriter, r *http.Request) {
	d.setCookie(w, r, "", -1)
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}

// setCookie sets the cookie until the browser closes. Scripts and other sites cannot use it. It needs
// no TLS: the server has none, and a proxy in front of it may.
func (d *Dashboard) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	//nolint:gosec // Secure is set where the browser used TLS, as the header of the proxy says
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.Header.Get("X-Forwarded-Proto") == "https",
	})
}
