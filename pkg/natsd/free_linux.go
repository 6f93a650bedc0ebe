package natsd

import (
	"os"

	"golang.org/x/sys/unix"
)

// free is what a file system says of itself.
type free struct {
	bytes, files uint64
	// counted says that the file system has only so many files; readOnly that nothing can be written.
	counted, readOnly bool
}

func freeIn(dir string) (free, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return free{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return free{
		bytes: stat.Bavail * uint64(stat.Bsize), files: stat.Ffree, counted: stat.Files > 0,
		readOnly: stat.Flags&unix.ST_RDONLY != 0,
	}, nil
}
