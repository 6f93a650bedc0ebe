package bus

import (
	"bytes"
	"fmt"

	"fct-scraper/pkg/contract"

	"github.com/klauspost/compress/s2"
)

// compressedPrefix begins a compressed message. The message's first line follows uncompressed, so
// that it stays readable in the stream, then the compressed rest. An uncompressed message begins
// with a brace.
const compressedPrefix = "s2\n"

const (
	// minCompressSize is the size in bytes from which compression pays off.
	minCompressSize = 1 << 10
	// maxDecompressedSize bounds a decompressed message in bytes: a few answers of the largest
	// size.
	maxDecompressedSize = 1 << 30
)

// Compress shrinks a message that consists of a line and more data. JSON with many similar rows,
// such as answers and records, shrinks to an eighth.
func Compress(data []byte) []byte {
	head, rest, found := bytes.Cut(data, []byte{'\n'})
	if !found || len(rest) < minCompressSize {
		return data
	}
	out := make([]byte, 0, len(compressedPrefix)+len(head)+1+s2.MaxEncodedLen(len(rest)))
	out = append(out, compressedPrefix...)
	out = append(out, head...)
	out = append(out, '\n')
	return append(out, s2.Encode(nil, rest)...)
}

// Decompress returns the input of Compress; an uncompressed message is returned as it is. The error
// wraps contract.ErrMessage.
func Decompress(data []byte) ([]byte, error) {
	compressed, found := bytes.CutPrefix(data, []byte(compressedPrefix))
	if !found {
		return data, nil
	}
	head, rest, found := bytes.Cut(compressed, []byte{'\n'})
	if !found {
		return nil, fmt.Errorf("%w: no end of the first line", contract.ErrMessage)
	}
	size, err := s2.DecodedLen(rest)
	if err == nil && size > maxDecompressedSize {
		err = fmt.Errorf("%d bytes: allowed are %d", size, maxDecompressedSize)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing: %w", contract.ErrMessage, err)
	}
	out := make([]byte, len(head)+1+size)
	copy(out, head)
	out[len(head)] = '\n'
	if _, err := s2.Decode(out[len(head)+1:], rest); err != nil {
		return nil, fmt.Errorf("%w: decompressing: %w", contract.ErrMessage, err)
	}
	return out, nil
}
