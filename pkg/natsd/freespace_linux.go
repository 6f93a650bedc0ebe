package natsd

import (
	"os"

	"golang.org/x/sys/unix"
)

func statFileSystem(dir string) (fileSystem, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fileSystem{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return fileSystem{
		freeBytes: stat.Bavail * uint64(stat.Bsize), freeFiles: stat.Ffree, countsFiles: stat.Files > 0,
		readOnly: stat.Flags&unix.ST_RDONLY != 0,
	}, nil
}
