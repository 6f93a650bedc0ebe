package site

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/site/jsontree"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
)

const (
	// maxPreallocation limits the buffer allocated from Content-Length before any data arrives, and
	// the buffer that is kept for a later body, in bytes.
	maxPreallocation = 256 << 10
	// maxSmallBody is the size up to which bodies are read without a limit on concurrency, in
	// bytes. Typical responses have 9 kB, the largest known one 1.5 MB.
	maxSmallBody = 2 << 20
	// maxLargeBodies limits how many larger bodies a client reads at a time: 64 bodies of 16 MiB
	// could exhaust memory. The others wait while their request timeout runs.
	maxLargeBodies = 2
	// bodyChunk is the step by which a large body grows; doubling the buffer would take three times
	// its size.
	bodyChunk = 1 << 20
)

// readBody reads a body of at most c.MaxBody bytes after decompression; size is its Content-Length
// or -1. On an error it returns what was read before, but nothing of a body that is too large.
func (c *Client) readBody(ctx context.Context, body io.Reader, size int64) ([]byte, error) {
	small := min(maxSmallBody, c.MaxBody)
	buffer := c.newBuffer(size)
	_, err := buffer.ReadFrom(io.LimitReader(body, small+1))
	read := buffer.Bytes()
	if err == nil && int64(len(read)) > small && small < c.MaxBody {
		select {
		case c.largeBodies <- struct{}{}:
			read, err = readChunks(read, body, c.MaxBody-int64(len(read)))
			<-c.largeBodies
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	switch {
	case errors.Is(err, errTooLarge) || int64(len(read)) > c.MaxBody:
		return nil, fmt.Errorf("max_body: larger than %d bytes", c.MaxBody)
	case err != nil:
		return read, fmt.Errorf("reading the body: %w", err)
	default:
		return read, nil
	}
}

// newBuffer returns an empty buffer for a body with this Content-Length, which is trusted up to a
// limit.
func (c *Client) newBuffer(size int64) *bytes.Buffer {
	room := int(min(max(size, 0), maxPreallocation)) + bytes.MinRead
	if kept, ok := c.released.Get().(*bytes.Buffer); ok {
		kept.Grow(room)
		return kept
	}
	return bytes.NewBuffer(make([]byte, 0, room))
}

// Release removes the bodies from exchanges of Fetch, whose memory is used for later responses. So
// nothing may use these bodies any more. Exchanges that are not released are left to the garbage
// collector. A second call does nothing.
func (c *Client) Release(exchanges []contract.Exchange) {
	for i := range exchanges {
		body := exchanges[i].Body
		exchanges[i].Body = nil
		// RobotsRules has the body of robots.txt too.
		if exchanges[i].Call != robotsCall && cap(body) > 0 && cap(body) <= maxPreallocation+bytes.MinRead {
			c.released.Put(bytes.NewBuffer(body[:0]))
		}
	}
}

// errTooLarge marks a body larger than the limit.
var errTooLarge = errors.New("too large")

// readChunks returns read followed by at most limit bytes of body; it returns errTooLarge if there
// are more.
func readChunks(read []byte, body io.Reader, limit int64) ([]byte, error) {
	chunks := [][]byte{read}
	for {
		next := make([]byte, bodyChunk)
		n, err := readInto(next, body)
		if limit -= int64(n); limit < 0 {
			return nil, errTooLarge
		}
		chunks = append(chunks, next[:n])
		switch {
		case errors.Is(err, io.EOF):
			return slices.Concat(chunks...), nil
		case err != nil:
			return slices.Concat(chunks...), err
		}
	}
}

// readInto reads until room is full or an error occurs. Unlike io.ReadFull it keeps the difference
// between the end of a body and a body that breaks off.
func readInto(buffer []byte, body io.Reader) (n int, err error) {
	for n < len(buffer) && err == nil {
		var more int
		more, err = body.Read(buffer[n:])
		n += more
	}
	return n, err
}

const (
	// acceptEncoding is sent with every request. The transport does not decode: it does not know
	// x-gzip, and it rejects zero bytes after the gzip data.
	acceptEncoding = "gzip"
	// maxCodings is how many content codings of one response are undone.
	maxCodings = 4
)

// decodedBody returns the body with its content codings undone. Read errors report damaged coded
// data. The returned error means that a coding is unsupported, and the body is returned as far as
// it was decoded. An unknown coding is treated as a wrong label if the body starts like JSON or
// markup.
func decodedBody(response *http.Response) (io.Reader, error) {
	var codings []string
	for coding := range strings.SplitSeq(strings.Join(response.Header.Values("Content-Encoding"), ","), ",") {
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "" && coding != "identity" {
			codings = append(codings, coding)
		}
	}
	if len(codings) == 0 {
		return response.Body, nil
	}
	if len(codings) > maxCodings {
		return response.Body, fmt.Errorf("content encoding: %d codings, allowed are %d", len(codings), maxCodings)
	}
	var body io.Reader = response.Body
	for _, coding := range slices.Backward(codings) { // undo the last one first
		from := bufio.NewReader(body)
		if _, err := from.Peek(1); errors.Is(err, io.EOF) { // an empty body
			return from, nil
		}
		switch coding {
		case "gzip", "x-gzip":
			body = &codedReader{source: from, open: openGzip, magic: []byte("\x1f\x8b")}
		case "deflate":
			body = &codedReader{source: from, open: openDeflate}
		default:
			start, err := from.Peek(sniffLength)
			if (startsAsJSON(start) || startsAsMarkup(start)) && (err == nil || errors.Is(err, io.EOF)) {
				body = from
				continue
			}
			return from, fmt.Errorf("content encoding: %.40q is not known", coding)
		}
	}
	return body, nil
}

// sniffLength is how many bytes are checked to tell plain text from coded data.
const sniffLength = 512

// codedReader decodes a body: one member, or several if they start with magic, followed by zero
// bytes only.
type codedReader struct {
	source *bufio.Reader
	open   func(*bufio.Reader) (io.Reader, error)
	magic  []byte
	// member is the current member; nil before the first and between two.
	member io.Reader
	done   bool
}

// Read decodes data. A member has been verified once its end is read, if its coding has a checksum.
func (c *codedReader) Read(p []byte) (int, error) {
	for !c.done {
		if c.member == nil {
			member, err := c.open(c.source)
			if err != nil {
				return 0, decodeError(err)
			}
			c.member = member
		}
		n, err := c.member.Read(p)
		if !errors.Is(err, io.EOF) {
			if err != nil {
				err = decodeError(err)
			}
			return n, err
		}
		if err := c.endMember(); err != nil {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, io.EOF
}

// endMember checks the data after a member.
func (c *codedReader) endMember() error {
	c.member = nil
	if start, _ := c.source.Peek(len(c.magic)); len(start) > 0 && bytes.Equal(start, c.magic) {
		return nil // the next read returns a Peek error again
	}
	for {
		next, err := c.source.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			c.done = true
			return nil
		case err != nil:
			return err
		case next != 0:
			return errors.New("content encoding: data after the end of the encoded body")
		}
	}
}

// decodeError wraps the error of a decoder. EOF inside a member is unexpected.
func decodeError(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("content encoding: %w", err)
}

func openGzip(from *bufio.Reader) (io.Reader, error) {
	member, err := gzip.NewReader(from)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	return member, nil
}

// openDeflate opens the zlib format, which the name stands for, or raw deflate data, which some
// servers send.
func openDeflate(from *bufio.Reader) (io.Reader, error) {
	head, err := from.Peek(2)
	if err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(from)
	}
	return flate.NewReader(from), nil
}

// errValue is the error for a list or an object in place of a scalar.
var errValue = errors.New("not a plain value")

// text returns a scalar as trimmed text; empty if it is missing or null.
func text(n *jsontree.Node) (string, error) {
	if n == nil {
		return "", nil
	}
	switch n.Kind {
	case jsontree.Null:
		return "", nil
	case jsontree.String:
		return strings.TrimSpace(n.Text), nil
	case jsontree.Bool:
		return n.Text, nil
	case jsontree.Number:
		return plainNumber(n.Text), nil
	default:
		return "", errValue
	}
}

// plainNumber returns a number as written, except that it drops a fraction of zeros: decimal
// columns arrive as 62.0.
func plainNumber(written string) string {
	if whole, zeros, found := strings.Cut(written, "."); found && strings.Trim(zeros, "0") == "" {
		return whole
	}
	return written
}

// errCharset marks bodies that are not valid text in their character set.
var errCharset = errors.New("invalid text for its character set")

// parseJSON parses a body, which must be exactly one JSON value. The texts of the tree may refer to
// the body.
func parseJSON(parser *jsontree.Parser, body []byte, contentType string) (*jsontree.Node, error) {
	body, err := toUTF8(body, contentType)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, errors.New("empty body")
	}
	return parser.Parse(unsafe.String(unsafe.SliceData(body), len(body))) //nolint:gosec // see Profile.Read
}

// toUTF8 converts a body to UTF-8 and removes byte order marks. A body that is valid UTF-8 is taken
// as such under nearly every label: labels are often wrong, and hardly any other text is valid
// UTF-8 by accident unless its encoding uses ASCII bytes only. Other bodies are decoded by their
// byte order mark or content type. Nothing is guessed, because a guess could turn a broken response
// into a wrong one.
func toUTF8(body []byte, contentType string) ([]byte, error) {
	name := declaredCharset(contentType)
	marked, known := utf16Label(body)
	switch {
	case known:
		name = marked
	case utf8.Valid(body) && !maybeASCIICoded(name, body):
		return trimByteOrderMarks(body), nil
	}
	encoding, canonical := lookupEncoding(name)
	switch {
	case name == "" || canonical == "utf-8" || namesUTF8(name):
		return nil, fmt.Errorf("%w: not UTF-8", errCharset)
	case encoding == nil:
		return nil, fmt.Errorf("%w: %.40q is not known", errCharset, name)
	}
	decoded, err := io.ReadAll(encoding.NewDecoder().Reader(bytes.NewReader(body)))
	if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
		return nil, fmt.Errorf("%w: not %.40q", errCharset, name)
	}
	return trimByteOrderMarks(decoded), nil
}

// byteOrderMark is the byte order mark in UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

// trimByteOrderMarks removes all leading byte order marks; a page assembled from several files has
// several.
func trimByteOrderMarks(text []byte) []byte {
	for bytes.HasPrefix(text, []byte(byteOrderMark)) {
		text = text[len(byteOrderMark):]
	}
	return text
}

// utf16Label returns the UTF-16 variant that a body's byte order mark names.
func utf16Label(body []byte) (name string, known bool) {
	switch {
	case bytes.HasPrefix(body, []byte("\xff\xfe")):
		return "utf-16le", true
	case bytes.HasPrefix(body, []byte("\xfe\xff")):
		return "utf-16be", true
	default:
		return "", false
	}
}

// maybeASCIICoded reports whether a body that is valid UTF-8 may still be other text according to
// its label: UTF-16 of English text is full of NULs, and some encodings use ASCII bytes for all
// letters.
func maybeASCIICoded(name string, body []byte) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	_, canonical := lookupEncoding(name)
	return strings.HasPrefix(canonical, "utf-16") && bytes.IndexByte(body, 0) >= 0 ||
		strings.HasPrefix(name, "iso-2022-") || slices.Contains([]string{"utf-7", "hz", "hz-gb-2312"}, name)
}

// lookupEncoding finds an encoding by its label in various spellings: latin-1, CP-1252, iso_8859_1.
func lookupEncoding(name string) (encoding.Encoding, string) {
	dashed := strings.ReplaceAll(name, "_", "-")
	for _, spelling := range []string{name, dashed, strings.ReplaceAll(dashed, "-", "")} {
		if found, canonical := charset.Lookup(spelling); found != nil {
			return found, canonical
		}
	}
	return nil, ""
}

// namesUTF8 reports whether a label is a variant name of UTF-8, such as MySQL's utf8mb4.
func namesUTF8(name string) bool {
	return strings.HasPrefix(strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name)), "utf8")
}

// declaredCharset returns the character set of a content type, or an empty text.
func declaredCharset(contentType string) string {
	if !strings.Contains(strings.ToLower(contentType), "charset") {
		return ""
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return params["charset"]
}

// startsAsJSON reports whether a body starts like a JSON list or object.
func startsAsJSON(body []byte) bool {
	start := bytes.TrimLeft(trimByteOrderMarks(body), " \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[')
}

// searchViews returns two versions of the beginning of a response, both in lower case: as received,
// to search its markup, and as visible text.
func searchViews(page []byte) [][]byte {
	// A page that is still full of NULs is UTF-16 without a label.
	page = bytes.ToLower(bytes.ReplaceAll(page[:min(len(page), searchLimit)], []byte{0}, nil))
	return [][]byte{page, visibleText(page, len(page))}
}

// decodeLeniently converts a response to UTF-8 by its byte order mark or content type, and
// otherwise assumes windows-1252. It is only used to search for blocks; responses that are read as
// records are never guessed, see toUTF8.
func decodeLeniently(exchange contract.Exchange) []byte {
	body := exchange.Body
	name := declaredCharset(exchange.ContentType)
	marked, known := utf16Label(body)
	switch {
	case known:
		name = marked
	case utf8.Valid(body) && !bytes.Contains(body, []byte{0}):
		return trimByteOrderMarks(body)
	}
	encoding, canonical := lookupEncoding(name)
	if encoding == nil || canonical == "utf-8" {
		encoding, _ = charset.Lookup("windows-1252")
	}
	text, err := io.ReadAll(encoding.NewDecoder().Reader(bytes.NewReader(body)))
	if err != nil {
		return body
	}
	return trimByteOrderMarks(text)
}

// visibleText returns the text of about the first length bytes of a page, without markup and with
// single spaces.
func visibleText(page []byte, length int) []byte {
	var text []byte
	for len(page) > 0 && len(text) < length {
		before, rest, _ := bytes.Cut(page, []byte("<"))
		text = append(append(text, before...), ' ')
		_, page, _ = bytes.Cut(rest, []byte(">"))
	}
	return bytes.Join(bytes.Fields([]byte(html.UnescapeString(string(text)))), []byte(" "))
}

// jsonText returns the names and string values of a JSON document in lower case. Searching it finds
// texts that are written with escapes.
func jsonText(doc *jsontree.Node) []byte {
	var text []byte
	var add func(*jsontree.Node)
	add = func(n *jsontree.Node) {
		if n.Kind == jsontree.String {
			text = append(append(text, n.Text...), ' ')
		}
		for child := n.First; child != nil && len(text) < searchLimit; child = child.Next {
			text = append(append(text, child.Name...), ' ')
			add(child)
		}
	}
	add(doc)
	return bytes.ToLower(text)
}

// startsAsMarkup reports whether a body starts like HTML or XML.
func startsAsMarkup(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(trimByteOrderMarks(body)), []byte("<"))
}
