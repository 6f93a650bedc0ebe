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
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	// maxPreallocation bounds what is set aside for an answer before it has come, in bytes.
	maxPreallocation = 256 << 10
	// maxSmallBody is up to where every answer is read at once, in bytes; a court's are 9 kB, its largest 1.5 MB.
	maxSmallBody = 2 << 20
	// maxLargeBodies is how many larger answers a client reads at a time: 64 of 16 MiB at once would be more memory than
	// the machine may have. The others wait, and their request_timeout runs on.
	maxLargeBodies = 2
	// bodyChunk is by how much a large answer grows: doubling it would take three times its size.
	bodyChunk = 1 << 20
)

// readBody reads a body of at most c.MaxBody bytes, after decompression, whose length is size if the site said it. What
// came before an error is returned with it, but nothing of a body that is too large.
func (c *Client) readBody(ctx context.Context, body io.Reader, size int64) ([]byte, error) {
	small := min(maxSmallBody, c.MaxBody)
	// What the site says of the length is set aside at once, within reason.
	buffer := bytes.NewBuffer(make([]byte, 0, min(max(size, 0), maxPreallocation)+bytes.MinRead))
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

// errTooLarge says that there is more of a body than is allowed.
var errTooLarge = errors.New("too large")

// readChunks is what has been read and at most so many bytes that come after it; of more it is nothing.
func readChunks(read []byte, body io.Reader, most int64) ([]byte, error) {
	chunks := [][]byte{read}
	for {
		next := make([]byte, bodyChunk)
		n, err := readInto(next, body)
		if most -= int64(n); most < 0 {
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

// readInto reads until there is no room left or an error. It leaves the error of a body that breaks off as it is: io.ReadFull
// says the same of the end of one.
func readInto(room []byte, body io.Reader) (n int, err error) {
	for n < len(room) && err == nil {
		var more int
		more, err = body.Read(room[n:])
		n += more
	}
	return n, err
}

const (
	// acceptEncoding is what every request says. The transport is kept from asking for it, and from
	// decoding: it knows gzip by one of its two names, and takes zero bytes behind it for a broken
	// answer.
	acceptEncoding = "gzip"
	// maxCodings is how many codings of one answer are undone.
	maxCodings = 4
)

// decodedBody is the body of an answer without its content codings. A read's error says what is
// wrong with them; its own error, which codings cannot be undone, and the body is then as it came,
// from there on. A coding that nobody asked for and that the program does not know is taken for a
// wrong label if the body begins as JSON or as a page does.
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
	for _, coding := range slices.Backward(codings) { // the last one was applied last
		from := bufio.NewReader(body)
		if _, err := from.Peek(1); errors.Is(err, io.EOF) { // there is nothing to decode
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

// sniffLength is how much of a body is looked at to tell plain text from coded.
const sniffLength = 512

// codedReader reads a coded body: one member, or several where they begin with magic, and after
// them zero bytes alone.
type codedReader struct {
	source *bufio.Reader
	open   func(*bufio.Reader) (io.Reader, error)
	magic  []byte
	// member is the one that is being read; nil before the first and between two.
	member io.Reader
	done   bool
}

// Read decodes. The end of a member that was read has been checked, as far as its coding has a
// checksum.
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

// endMember looks at what is behind a member.
func (c *codedReader) endMember() error {
	c.member = nil
	if start, _ := c.source.Peek(len(c.magic)); len(start) > 0 && bytes.Equal(start, c.magic) {
		return nil // an error comes again from the next read
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
			return errors.New("content encoding: something behind the end of the coded body")
		}
	}
}

// decodeError is the error of a decoder. An end within a member is no end of the body.
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

// openDeflate opens the zlib format, which the name stands for, and the bare one, which some
// servers send under it.
func openDeflate(from *bufio.Reader) (io.Reader, error) {
	head, err := from.Peek(2)
	if err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(from)
	}
	return flate.NewReader(from), nil
}
