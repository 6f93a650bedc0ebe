package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size, never negative. As text it is a bare number of bytes or a whole number with a
// unit: "16MiB", "500kB".
type Bytes int64

// KiB, MiB and GiB are the units that sizes are shown in.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
)

var errBytes = errors.New("allowed is a whole number of bytes, or one with a unit: B, kB, MB, GB, KiB, MiB, GiB")

// unitSize is the number of bytes of a unit; 0 if the unit is unknown.
func unitSize(name string) int64 {
	switch strings.ToLower(name) {
	case "", "b":
		return 1
	case "kb":
		return 1e3
	case "mb":
		return 1e6
	case "gb":
		return 1e9
	case "kib":
		return int64(KiB)
	case "mib":
		return int64(MiB)
	case "gib":
		return int64(GiB)
	}
	return 0
}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	name := strings.TrimLeft(string(text), "0123456789")
	count, err := strconv.ParseInt(strings.TrimSuffix(string(text), name), 10, 64)
	times := unitSize(strings.TrimPrefix(name, " "))
	if err != nil || times == 0 || count > math.MaxInt64/times {
		return fmt.Errorf("size %.40q: %w", text, errBytes)
	}
	*b = Bytes(count * times)
	return nil
}

// String returns the size in the largest unit of which it is a whole number.
func (b Bytes) String() string {
	switch {
	case b == 0:
	case b%GiB == 0:
		return strconv.FormatInt(int64(b/GiB), 10) + "GiB"
	case b%MiB == 0:
		return strconv.FormatInt(int64(b/MiB), 10) + "MiB"
	case b%KiB == 0:
		return strconv.FormatInt(int64(b/KiB), 10) + "KiB"
	}
	return strconv.FormatInt(int64(b), 10)
}
