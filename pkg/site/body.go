package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
