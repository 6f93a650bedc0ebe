package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// ErrTooShort says that a file has less in it than its writer had made durable: somebody else cut it.
var ErrTooShort = errors.New("file shorter than it was left")

// Appender is a file of lines that only grows, one writer at a time. It is not safe for concurrent use.
type Appender struct {
	store *Store
	file  *os.File
	name  string
	size  int64
}

// Appender opens a file for appending and makes it, durably, when it is missing. Its error wraps
// ErrNotWritable.
func (s *Store) Appender(name string) (*Appender, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	file, err := s.open(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, s.notWritable("opening", name, err)
	}
	a := &Appender{store: s, file: file, name: name}
	info, err := file.Stat()
	if err == nil {
		a.size = info.Size()
		err = s.syncFolders(map[string]bool{path.Dir(name): true})
	}
	if err != nil {
		return nil, errors.Join(s.notWritable("opening", name, err), file.Close())
	}
	return a, nil
}

// open opens a file and makes its folder only when that is missing, which is rare.
func (s *Store) open(name string, flag int) (*os.File, error) {
	file, err := s.root.OpenFile(name, flag, 0o640)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := s.makeFolder(path.Dir(name)); err != nil {
		return nil, err
	}
	return s.root.OpenFile(name, flag, 0o640)
}

// Size is the length of the file in bytes, what is not synced included.
func (a *Appender) Size() int64 { return a.size }

// TruncateTo cuts the file back to an offset that was its Size once. A file that is shorter than that is left
// alone and the error is ErrTooShort; every other one wraps ErrNotWritable.
func (a *Appender) TruncateTo(offset int64) error {
	if offset > a.size {
		return fmt.Errorf("cutting %q back to %d: %w: it has %d bytes", a.name, offset, ErrTooShort, a.size)
	}
	if err := a.file.Truncate(offset); err != nil {
		return a.store.notWritable("cutting back", a.name, err)
	}
	a.size = offset
	return nil
}

// Append writes data at the end. It is durable after the next Sync; when it fails the size stays, and the
// next Append writes over what got through. Its error wraps ErrNotWritable.
func (a *Appender) Append(data []byte) error {
	if err := a.store.Check(); err != nil {
		return err
	}
	if _, err := a.file.WriteAt(data, a.size); err != nil {
		return a.store.notWritable("appending to", a.name, err)
	}
	a.size += int64(len(data))
	return nil
}

// Sync makes everything appended so far durable. Its error wraps ErrNotWritable.
func (a *Appender) Sync() error {
	if err := a.file.Sync(); err != nil {
		return a.store.notWritable("syncing", a.name, err)
	}
	return nil
}

// Close closes the file without syncing it.
func (a *Appender) Close() error { return a.file.Close() }
