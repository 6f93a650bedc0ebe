package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
)

// ErrTooShort reports that a file is shorter than its writer had made durable: something truncated
// it.
var ErrTooShort = errors.New("file shorter than it was left")

// Appender writes a file that only grows. A file has one writer at a time; an Appender is not safe
// for concurrent use.
type Appender struct {
	store *Store
	file  *os.File
	name  string
	size  int64
}

// Appender opens a file for appending and creates it durably if missing. Its error wraps
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

// open opens a file and creates its folder if that is missing, which is rare.
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

// Size is the length of the file in bytes, including what is not synced yet.
func (a *Appender) Size() int64 { return a.size }

// TruncateTo truncates the file to an earlier Size. If the file is shorter it is left alone and the
// error wraps ErrTooShort; every other error wraps ErrNotWritable.
func (a *Appender) TruncateTo(offset int64) error {
	if offset > a.size {
		return fmt.Errorf("truncating %q to %d: %w: it has %d bytes", a.name, offset, ErrTooShort, a.size)
	}
	if err := a.file.Truncate(offset); err != nil {
		return a.store.notWritable("truncating", a.name, err)
	}
	a.size = offset
	return nil
}

// Append writes data at the end; it is durable after the next Sync. If it fails, the size stays and
// the next Append overwrites what was written. Its error wraps ErrNotWritable.
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

// Sync makes all appended data durable. Its error wraps ErrNotWritable.
func (a *Appender) Sync() error {
	if err := a.file.Sync(); err != nil {
		return a.store.notWritable("syncing", a.name, err)
	}
	return nil
}

// Close closes the file without syncing it.
func (a *Appender) Close() error { return a.file.Close() }
