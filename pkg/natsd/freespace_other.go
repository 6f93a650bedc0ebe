//go:build !linux

package natsd

import "math"

// statFileSystem reports unlimited space: on other systems the first failed write shows the limit.
func statFileSystem(string) (fileSystem, error) { return fileSystem{freeBytes: math.MaxUint64}, nil }
