package site_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site"
)

// TestLargeBodies: a body of any size up to the limit is read completely, and a truncated one is
// never taken for complete.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	const limit, mib = 6 << 20, 1 << 20
	for _, size := range []int{2*mib - 1, 2 * mib, 2*mib + 1, 3 * mib, 3*mib + 1, 3*mib + 2, 5*mib + 12345, limit - 1, limit, limit + 1} {
		for _, complete := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, whole %t", size, complete), func(t *testing.T) {
				t.Parallel()
				body := ownBody + strings.Repeat(" ", size-len(ownBody)-1) + "\n"
				server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.WriteString(w, body)
					if !complete {
						panic(http.ErrAbortHandler)
					}
				}})
				c := newClient(t, server.URL, func(o *site.Options) { o.MaxBody = limit })
				exchanges := fetchCase(t, c)
				switch {
				case size > limit && complete:
					wantReading(t, c, exchanges, contract.VerdictTransient, "max_body: larger than 6291456 bytes")
				case !complete: // one byte too much may be seen before the end is
					wantReading(t, c, exchanges, contract.VerdictTransient, "docket call: ")
				default:
					wantReading(t, c, exchanges, contract.VerdictSuccess, "")
					if string(exchanges[0].Body) != body {
						t.Errorf("another body of %d bytes", len(exchanges[0].Body))
					}
				}
			})
		}
	}
}

// TestLargeBodies_LimitedConcurrency: the number of large bodies read at a time is limited; the
// others wait, and small ones never do.
func TestLargeBodies_LimitedConcurrency(t *testing.T) {
	t.Parallel()
	large := ownBody + strings.Repeat(" ", 3<<20)
	begun, goOn := make(chan struct{}, site.MaxLargeBodies), make(chan struct{})
	server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, large)
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-goOn
	}})
	quick := startSite(t, map[string]http.HandlerFunc{"docket": bodyHandler(ownBody)})
	c := newClient(t, server.URL, func(o *site.Options) { o.MaxBody = 4 << 20 })
	results := make(chan contract.Verdict)
	const askers = 2*site.MaxLargeBodies + 1
	for range askers {
		go func() {
			exchanges, _ := c.Fetch(t.Context(), caseID(t, "IMM-13-25"), noPause)
			results <- c.Profile.Read(caseID(t, "IMM-13-25"), exchanges).Verdict
		}()
	}
	for range site.MaxLargeBodies {
		<-begun
	}
	small := newClient(t, quick.URL, nil)
	wantReading(t, small, fetchCase(t, small), contract.VerdictSuccess, "")
	close(goOn)
	for range askers - site.MaxLargeBodies {
		<-begun
	}
	for range askers {
		if verdict := <-results; verdict != contract.VerdictSuccess {
			t.Errorf("read %s", verdict)
		}
	}
}

// encodeBody returns a text in a content coding.
func encodeBody(t *testing.T, text string, open func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var body bytes.Buffer
	w := open(&body)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return body.String()
}

func gzipText(t *testing.T, text string) string {
	return encodeBody(t, text, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func zlibText(t *testing.T, text string) string {
	return encodeBody(t, text, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func deflateText(t *testing.T, text string) string {
	return encodeBody(t, text, func(w io.Writer) io.WriteCloser {
		z, err := flate.NewWriter(w, flate.DefaultCompression)
		if err != nil {
			t.Fatal(err)
		}
		return z
	})
}

// TestContentEncoding: a response is decoded from every coding that servers send, under all of its
// names. A truncated or undecodable response is never taken for complete, and the error names the
// coding.
func TestContentEncoding(t *testing.T) {
	t.Parallel()
	zip := gzipText(t, ownBody)
	half := gzipText(t, ownBody[:20]) + gzipText(t, ownBody[20:])
	broken := []byte(zip)
	broken[len(broken)-8] ^= 1 // its checksum
	for name, test := range map[string]struct {
		encoding []string
		body     string
		// complaint is part of the error; empty for a response that is read.
		complaint string
	}{
		"gzip": {[]string{"gzip"}, zip, ""}, "x-gzip": {[]string{"x-gzip"}, zip, ""},
		"capitals": {[]string{"GZIP"}, zip, ""}, "X-GZip": {[]string{"X-GZip"}, zip, ""},
		"spaces": {[]string{"  gzip "}, zip, ""}, "identity": {[]string{"identity"}, ownBody, ""},
		"Identity": {[]string{"Identity"}, ownBody, ""},
		"empty":    {[]string{""}, ownBody, ""}, "commas": {[]string{", ,"}, ownBody, ""},
		"gzip, identity": {[]string{"gzip, identity"}, zip, ""},
		"identity,gzip":  {[]string{"identity,gzip"}, zip, ""}, "two headers": {[]string{"identity", "gzip"}, zip, ""},
		"gzip twice":            {[]string{"gzip, gzip"}, gzipText(t, zip), ""},
		"deflate, gzip":         {[]string{"deflate, gzip"}, gzipText(t, zlibText(t, ownBody)), ""},
		"deflate":               {[]string{"deflate"}, zlibText(t, ownBody), ""},
		"bare deflate":          {[]string{"deflate"}, deflateText(t, ownBody), ""},
		"zero behind gzip":      {[]string{"gzip"}, zip + "\x00", ""},
		"zeros behind gzip":     {[]string{"gzip"}, zip + strings.Repeat("\x00", 100_000), ""},
		"zeros behind deflate":  {[]string{"deflate"}, zlibText(t, ownBody) + "\x00\x00", ""},
		"zeros behind x-gzip":   {[]string{"x-gzip"}, zip + "\x00\x00\x00", ""},
		"two members":           {[]string{"gzip"}, half, ""},
		"two members and zeros": {[]string{"gzip"}, half + "\x00\x00", ""},
		"an empty member":       {[]string{"gzip"}, gzipText(t, "") + zip, ""},
		"a wrong label":         {[]string{"utf-8"}, ownBody, ""}, "none": {[]string{"none"}, ownBody, ""},
		"br over plain text": {[]string{"br"}, ownBody, ""},

		"br": {[]string{"br"}, "\x0b\x02\x80abc\x03", `content encoding: "br" is not known`},
		"zstd": {[]string{"zstd"},
			"\x28\xb5\x2f\xfdxxxx", `content encoding: "zstd" is not known`},
		"br in gzip":                 {[]string{"br, gzip"}, gzipText(t, "\x0b\x02\x80abc\x03"), `content encoding: "br" is not known`},
		"gzip that is none":          {[]string{"gzip"}, ownBody, "content encoding: gzip"},
		"x-gzip that is none":        {[]string{"x-gzip"}, ownBody, "content encoding: gzip"},
		"deflate that is none":       {[]string{"deflate"}, ownBody, "content encoding: flate"},
		"zeros alone":                {[]string{"gzip"}, strings.Repeat("\x00", 30), "content encoding: gzip"},
		"half a member":              {[]string{"gzip"}, zip[:len(zip)/2], "content encoding: unexpected EOF"},
		"no checksum":                {[]string{"gzip"}, zip[:len(zip)-8], "content encoding: unexpected EOF"},
		"half a checksum":            {[]string{"gzip"}, zip[:len(zip)-1], "content encoding: unexpected EOF"},
		"a wrong checksum":           {[]string{"gzip"}, string(broken), "content encoding: gzip"},
		"a wrong checksum, zeros":    {[]string{"gzip"}, string(broken) + "\x00\x00", "content encoding: gzip"},
		"half of a second member":    {[]string{"gzip"}, half[:len(half)-9], "content encoding: unexpected EOF"},
		"half of bare deflate":       {[]string{"deflate"}, deflateText(t, ownBody)[:20], "content encoding: unexpected EOF"},
		"half of deflate":            {[]string{"deflate"}, zlibText(t, ownBody)[:20], "content encoding: unexpected EOF"},
		"data after the end":         {[]string{"gzip"}, zip + "more", "data after the end"},
		"data after the end zeros":   {[]string{"gzip"}, zip + "\x00\x00x", "data after the end"},
		"data after the end deflate": {[]string{"deflate"}, zlibText(t, ownBody) + "x", "data after the end"},
		"too many":                   {[]string{"gzip, gzip, gzip, gzip, gzip"}, zip, "content encoding: 5 codings"},
		"nothing":                    {[]string{"gzip"}, "", "empty body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Encoding"] = test.encoding
				_, _ = io.WriteString(w, test.body)
			}})
			c := newClient(t, server.URL, nil)
			exchanges := fetchCase(t, c)
			if test.complaint != "" {
				wantReading(t, c, exchanges, contract.VerdictTransient, test.complaint)
				return
			}
			wantReading(t, c, exchanges, contract.VerdictSuccess, "")
			if string(exchanges[0].Body) != ownBody {
				t.Errorf("the body is %.60q", exchanges[0].Body)
			}
		})
	}
}

// TestContentEncoding_Blocks: a block is found by its status in any coding, and by its text in a
// known coding. A body that cannot be decoded is stored as received.
func TestContentEncoding_Blocks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status         int
		encoding, body string
	}{
		"status":          {http.StatusForbidden, "br", "\x0b\x02\x80abc\x03"},
		"text":            {http.StatusOK, "x-gzip", gzipText(t, blockBody)},
		"text in deflate": {http.StatusOK, "deflate", deflateText(t, blockBody)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"docket": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", test.encoding)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			}})
			c := newClient(t, server.URL, nil)
			exchanges := fetchCase(t, c)
			wantReading(t, c, exchanges, contract.VerdictBlocked, "")
			if test.encoding == "br" && string(exchanges[0].Body) != test.body {
				t.Errorf("stored body %q", exchanges[0].Body)
			}
		})
	}
}

// TestContentEncoding_Robots: robots.txt is decoded from the same codings as responses.
func TestContentEncoding_Robots(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ encoding, body string }{
		"x-gzip": {"x-gzip", gzipText(t, "User-agent: *\nDisallow: /\n")},
		"zeros":  {"gzip", gzipText(t, "User-agent: *\nDisallow: /\n") + "\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startSite(t, map[string]http.HandlerFunc{"/robots.txt": func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", test.encoding)
				_, _ = io.WriteString(w, test.body)
			}})
			rules, err := newClient(t, server.URL, nil).Robots(t.Context(), noPause)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := rules.Allows(caseID(t, "IMM-13-25")); ok {
				t.Error("everything is disallowed, but the case is allowed")
			}
		})
	}
}
