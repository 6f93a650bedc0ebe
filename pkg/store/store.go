// Package store writes the files of a run so that a reader, or the next process after a crash, sees a
// file whole or not at all. It never leaves the folder that it was opened on, symbolic links included.
package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNotWritable marks every error of a folder or file that cannot be written: full, read-only, gone, or
// outside of the store's folder. The program exits with 7 on it.
var ErrNotWritable = errors.New("output not writable")

// tempPrefix begins the name of every file that is not finished yet.
const tempPrefix = ".fct-tmp-"

// Store is a folder of files, each written to a temporary file in its own folder, synced and renamed.
// It is safe for concurrent use; names are slash-separated and relative to the folder.
type Store struct {
	root *os.Root
	// dir is the path that the folder was opened by, opened the folder itself.
	dir  string
	info os.FileInfo
	lock *os.File
	// sync makes the written temporary files of one batch durable; it differs by system.
	sync func(root *os.Root, temps []temp) error
	// fence says whether files may get their names; nil is always.
	fence func() error
}

// WithFence is the same folder for somebody who may write there only while held returns nil: it is asked again when a file is whole
// and about to get its name, and its error is that of writing then. A process may have stood still in between.
func (s *Store) WithFence(held func() error) *Store {
	guarded := *s
	guarded.fence = held
	return &guarded
}

// File is a name and what the file is to hold.
type File struct {
	Name string
	Data []byte
}

// Open makes the folder when it is missing, and removes the unfinished files that a killed process left
// there, unless another process has the same folder open. Its error wraps ErrNotWritable.
func Open(dir string) (*Store, error) {
	if err := MakeFolder(dir); err != nil {
		return nil, notWritable("making the folder", dir, err)
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return nil, notWritable("opening the folder", dir, err)
	}
	root, err := os.OpenRoot(full)
	if err != nil {
		return nil, notWritable("opening the folder", dir, err)
	}
	s := &Store{root: root, dir: full, sync: syncBatch}
	if err := s.lockFolder(); err != nil {
		return nil, errors.Join(notWritable("opening the folder", dir, err), s.Close())
	}
	return s, nil
}

// MakeFolder makes a folder, and those above it, when they are missing. Of a symbolic link that leads nowhere its error says so:
// os.MkdirAll says that a file exists.
func MakeFolder(dir string) error {
	err := os.MkdirAll(dir, 0o750)
	if err == nil {
		return nil
	}
	for at := filepath.Clean(dir); at != filepath.Dir(at); at = filepath.Dir(at) {
		target, noLink := os.Readlink(at)
		if noLink != nil {
			continue
		}
		if _, lost := os.Stat(at); lost != nil {
			return fmt.Errorf("%q is a symbolic link to %q, which is no folder: %w", at, target, errors.Unwrap(lost))
		}
	}
	return err
}

// Check returns an error that names the folder and wraps ErrNotWritable when its path does not lead to it any more: it was
// moved, removed or replaced. Every method that writes checks that first, because what is written into a folder that was moved
// is not where its reader looks.
func (s *Store) Check() error {
	now, err := os.Stat(s.dir)
	if err != nil {
		return notWritable("looking for the folder", s.dir, err)
	}
	if !os.SameFile(now, s.info) {
		return notWritable("looking for the folder", s.dir, errors.New("another one is in its place"))
	}
	return nil
}

// lockFolder takes the folder's lock: alone for as long as leftovers are removed, shared from then on. A process
// that is still writing holds it shared, so nobody removes the files under its hands.
func (s *Store) lockFolder() error {
	var err error
	if s.lock, err = s.root.Open("."); err != nil {
		return err
	}
	if s.info, err = s.lock.Stat(); err != nil {
		return err
	}
	alone, err := lockExclusive(s.lock)
	if err != nil {
		return err
	}
	if alone {
		if err := s.removeLeftovers(); err != nil {
			return err
		}
	}
	return lockShared(s.lock)
}

// removeLeftovers removes the temporary files of killed processes. It looks only where this program writes: the folder may be
// somebody's home, or the root of a file system.
func (s *Store) removeLeftovers() error {
	own := []string{".", "cases", "html", "html_failed", "warc"}
	return fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil // a folder that is not ours to read holds no leftover of ours
		}
		if err == nil && entry.IsDir() && !strings.Contains(name, "/") && !slices.Contains(own, name) {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), tempPrefix) {
			return err
		}
		return s.root.Remove(name)
	})
}

// Close gives the folder back. Files written before it stay as they are.
func (s *Store) Close() error {
	if s.lock == nil {
		return s.root.Close()
	}
	return errors.Join(s.lock.Close(), s.root.Close())
}

// Read is the whole of a regular file; a missing one is fs.ErrNotExist.
func (s *Store) Read(name string) ([]byte, error) {
	file, err := s.Reader(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", strconv.Quote(name), err)
	}
	return data, nil
}

// Reader opens a regular file for reading from its beginning; a missing one is fs.ErrNotExist. Anything else is refused: opening a
// pipe would wait for its other end.
func (s *Store) Reader(name string) (io.ReadCloser, error) {
	info, err := s.root.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	var file *os.File
	if err == nil {
		file, err = s.root.Open(name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", strconv.Quote(name), err)
	}
	return file, nil
}

// Sizes returns the length in bytes of every regular file of a folder by its name there; nothing for a folder that is missing.
// Its error wraps ErrNotWritable.
func (s *Store) Sizes(folder string) (map[string]int64, error) {
	sizes := map[string]int64{}
	opened, err := s.root.OpenRoot(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return sizes, nil
	}
	if err != nil {
		return nil, s.notWritable("listing", folder, err)
	}
	defer func() { _ = opened.Close() }()
	names, err := listNames(opened)
	if err != nil {
		return nil, s.notWritable("listing", folder, err)
	}
	for _, name := range names {
		info, err := opened.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) { // a temporary file of somebody else
			continue
		}
		if err != nil {
			return nil, s.notWritable("listing", folder, err)
		}
		if info.Mode().IsRegular() {
			sizes[name] = info.Size()
		}
	}
	return sizes, nil
}

func listNames(folder *os.Root) ([]string, error) {
	file, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := file.Readdirnames(-1)
	return names, errors.Join(err, file.Close())
}

// Remove removes a file durably; one that is missing is no error. Its error wraps ErrNotWritable.
func (s *Store) Remove(name string) error {
	if err := s.Check(); err != nil {
		return err
	}
	err := s.root.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.syncFolders(map[string]bool{path.Dir(name): true})
	}
	if err != nil {
		return s.notWritable("removing", name, err)
	}
	return nil
}

// syncFolders makes renames durable: a rename is only on the disk when its folder is.
func (s *Store) syncFolders(names map[string]bool) error {
	for name := range names {
		folder, err := s.root.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
			return err
		}
	}
	return nil
}

// makeFolder makes a missing folder and those above it, and syncs what now names them.
func (s *Store) makeFolder(name string) error {
	if err := s.root.MkdirAll(name, 0o750); err != nil {
		return err
	}
	parents := map[string]bool{".": true}
	for up := path.Dir(name); up != "."; up = path.Dir(up) {
		parents[up] = true
	}
	return s.syncFolders(parents)
}

// ChangedError is the error, which wraps ErrNotWritable, for a file that was written and is not there as it was written.
func (s *Store) ChangedError(name string) error {
	return s.notWritable("looking for", name, errors.New("it is not there as it was written"))
}

// notWritable is notWritable for a file of the folder.
func (s *Store) notWritable(doing, name string, err error) error {
	return notWritable(doing, filepath.Join(s.dir, filepath.FromSlash(name)), err)
}

func notWritable(doing, name string, err error) error {
	return fmt.Errorf("%w: %s %s: %w", ErrNotWritable, doing, strconv.Quote(name), err)
}
