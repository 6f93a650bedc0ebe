//go:build !linux

package natsd

import "math"

// fileSystem is what a file system reports about itself.
type fileSystem struct {
	freeBytes, freeFiles  uint64
	countsFiles, readOnly bool
}

// statFileSystem reports unlimited space: on other systems the first failed write shows the limit.
func statFileSystem(string) (fileSystem, error) { return fileSystem{freeBytes: math.MaxUint64}, nil }
