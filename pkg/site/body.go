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
	// maxPreallocation limits the buffer allocated from Content-Length before any data arrives, in
	// bytes.
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
	// Trust Content-Length up to a limit.
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
