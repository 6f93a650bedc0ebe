package bus

import (
	"bytes"
	"fmt"

	"fct-scraper/pkg/contract"

	"github.com/klauspost/compress/s2"
)

// A squeezed message is this mark, its first line as it was, and the rest compressed: who looks into a stream still reads
// what the message is about. A message that is not squeezed begins with a brace.
const compressedPrefix = "s2\n"

const (
	// minCompressSize is from how many bytes on squeezing is worth its time.
	minCompressSize = 1 << 10
	// maxDecompressedSize is what a message may become again, in bytes: a few answers of the largest size allowed.
	maxDecompressedSize = 1 << 30
)

// Compress makes a message of a line and what follows it smaller. Answers and records, which are JSON of many rows alike,
// become an eighth: less to sync, to copy and to keep.
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

// Decompress is what Compress was given; a message that is not compressed is returned as it is. Its error wraps contract.ErrMessage.
func Decompress(data []byte) ([]byte, error) {
	squeezed, found := bytes.CutPrefix(data, []byte(compressedPrefix))
	if !found {
		return data, nil
	}
	head, rest, found := bytes.Cut(squeezed, []byte{'\n'})
	if !found {
		return nil, fmt.Errorf("%w: no end of the first line", contract.ErrMessage)
	}
	size, err := s2.DecodedLen(rest)
	if err == nil && size > maxDecompressedSize {
		err = fmt.Errorf("%d bytes: allowed are %d", size, maxDecompressedSize)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: expanding: %w", contract.ErrMessage, err)
	}
	out := make([]byte, len(head)+1+size)
	copy(out, head)
	out[len(head)] = '\n'
	if _, err := s2.Decode(out[len(head)+1:], rest); err != nil {
		return nil, fmt.Errorf("%w: expanding: %w", contract.ErrMessage, err)
	}
	return out, nil
}
