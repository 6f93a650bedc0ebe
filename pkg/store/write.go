package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sync"
)

// temp is a temporary file: written, open, not yet durable.
type temp struct {
	file *os.File
	// name is the final name relative to the store's folder.
	name string
	// folder is the folder of both names, base the last element of name, tempName the temporary
	// name.
	folder   *os.Root
	base     string
	tempName string
}

// Write writes a file atomically, replacing an existing one; it is durable when Write returns. If
// it fails, the error wraps ErrNotWritable and the file is as it was before.
func (s *Store) Write(name string, data []byte) error {
	return s.WriteAll([]File{{Name: name, Data: data}})
}

// WriteFrom is Write for a file that is too large for memory: it calls write once with a buffered
// writer. An error of write itself does not wrap ErrNotWritable.
func (s *Store) WriteFrom(name string, write func(io.Writer) error) error {
	if err := s.Check(); err != nil {
		return err
	}
	var own error
	folder, err := s.folder(name)
	if err != nil {
		return s.notWritable("writing", name, err)
	}
	defer func() { _ = folder.Close() }()
	t, err := writeTemp(folder, name, func(w io.Writer) error {
		noted := &errorRecorder{w: w}
		buffered := bufio.NewWriter(noted)
		err := write(buffered)
		if noted.err == nil {
			own = err
		}
		return errors.Join(err, buffered.Flush())
	})
	switch {
	case own != nil:
		return fmt.Errorf("writing %q: %w", name, own)
	case err != nil:
		return s.notWritable("writing", name, err)
	}
	return s.commit([]temp{t})
}

// errorRecorder remembers whether writing failed, to distinguish that from other errors of its
// caller.
type errorRecorder struct {
	w   io.Writer
	err error
}

func (n *errorRecorder) Write(data []byte) (int, error) {
	written, err := n.w.Write(data)
	if err != nil {
		n.err = err
	}
	return written, err
}

// batchSize bounds how many files are open at a time.
const batchSize = 256

// WriteAll writes many files with few syncs. If it fails, the error wraps ErrNotWritable, some of
// the files may be written, and the others are as they were. Of two files with the same name the
// later one is kept. If a folder below the store's is moved or removed meanwhile, the files are
// written once more, into a new one.
func (s *Store) WriteAll(files []File) error {
	for len(files) > 0 {
		size := min(len(files), batchSize)
		err := s.writeBatch(files[:size])
		if errors.Is(err, fs.ErrNotExist) {
			err = s.writeBatch(files[:size])
		}
		if err != nil {
			return err
		}
		files = files[size:]
	}
	return nil
}

// writeBatch opens each folder once: resolving the path again for every file costs more than the
// file.
func (s *Store) writeBatch(files []File) error {
	if err := s.Check(); err != nil {
		return err
	}
	temps := make([]temp, 0, len(files))
	folders := make(map[string]*os.Root)
	defer func() {
		for _, folder := range folders {
			_ = folder.Close()
		}
	}()
	for _, file := range files {
		at := path.Dir(file.Name)
		folder, err := folders[at], error(nil)
		if folder == nil {
			if folder, err = s.folder(file.Name); err == nil {
				folders[at] = folder
			}
		}
		var t temp
		if err == nil {
			t, err = writeTemp(folder, file.Name, writeBytes(file.Data))
		}
		if err != nil {
			discard(temps)
			return s.notWritable("writing", file.Name, err)
		}
		temps = append(temps, t)
	}
	return s.commit(temps)
}

func writeBytes(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// commit makes the temporary files durable, renames them to their names and syncs the folders.
func (s *Store) commit(temps []temp) error {
	if len(temps) == 0 {
		return nil
	}
	if err := s.sync(s.root, temps); err != nil {
		discard(temps)
		return s.notWritable("syncing", temps[0].name, err)
	}
	folders := map[string]bool{}
	for i, t := range temps {
		if err := t.file.Close(); err != nil {
			discard(temps[i:])
			return s.notWritable("closing", t.name, err)
		}
		if err := s.checkFence(t.name); err != nil {
			discard(temps[i:])
			return err
		}
		if err := t.folder.Rename(t.tempName, t.base); err != nil {
			discard(temps[i:])
			return s.notWritable("renaming", t.name, err)
		}
		folders[path.Dir(t.name)] = true
	}
	if err := s.syncFolders(folders); err != nil {
		return s.notWritable("syncing the folder of", temps[0].name, err)
	}
	return nil
}

func (s *Store) checkFence(name string) error {
	if s.fence == nil {
		return nil
	}
	if err := s.fence(); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

// Create is Write for a name that must be free: an existing file stays and the error wraps
// fs.ErrExist. Of concurrent calls one succeeds, on file systems with hard links.
func (s *Store) Create(name string, data []byte) error {
	if err := s.Check(); err != nil {
		return err
	}
	folder, err := s.folder(name)
	if err != nil {
		return s.notWritable("writing", name, err)
	}
	defer func() { _ = folder.Close() }()
	t, err := writeTemp(folder, name, writeBytes(data))
	if err != nil {
		return s.notWritable("writing", name, err)
	}
	if err := s.sync(s.root, []temp{t}); err != nil {
		discard([]temp{t})
		return s.notWritable("syncing", name, err)
	}
	if err := s.checkFence(name); err != nil {
		discard([]temp{t})
		return err
	}
	err = t.linkFree()
	discard([]temp{t})
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("creating %q: %w", name, err)
	case err != nil:
		return s.notWritable("creating", name, err)
	}
	if err := s.syncFolders(map[string]bool{path.Dir(name): true}); err != nil {
		return s.notWritable("syncing the folder of", name, err)
	}
	return nil
}

// linkFree gives the file its name unless the name is taken.
func (t temp) linkFree() error {
	linked := t.folder.Link(t.tempName, t.base)
	if linked == nil || errors.Is(linked, fs.ErrExist) {
		return linked
	}
	if _, err := t.folder.Lstat(t.base); err == nil {
		return fs.ErrExist
	}
	return t.folder.Rename(t.tempName, t.base)
}

// folder opens the folder of a file and creates it if missing.
func (s *Store) folder(name string) (*os.Root, error) {
	if !fs.ValidPath(name) || name == "." {
		return nil, fmt.Errorf("name %q: %w", name, fs.ErrInvalid)
	}
	at := path.Dir(name)
	folder, err := s.root.OpenRoot(at)
	if !errors.Is(err, fs.ErrNotExist) {
		return folder, err
	}
	if err := s.makeFolder(at); err != nil {
		return nil, err
	}
	return s.root.OpenRoot(at)
}

func writeTemp(folder *os.Root, name string, write func(io.Writer) error) (temp, error) {
	t := temp{name: name, folder: folder, base: path.Base(name), tempName: fmt.Sprintf("%s%016x", tempPrefix, rand.Uint64())}
	var err error
	if t.file, err = folder.OpenFile(t.tempName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640); err != nil {
		return temp{}, err
	}
	if err := write(t.file); err != nil {
		discard([]temp{t})
		return temp{}, err
	}
	return t, nil
}

// discard removes temporary files. The next Open removes what cannot be removed now.
func discard(temps []temp) {
	for _, t := range temps {
		_ = t.file.Close()
		_ = t.folder.Remove(t.tempName)
	}
}

// syncWorkers is how many files are synced concurrently. Measured on ext4 with 6 KB files: one
// worker 3,400 files/s, eight 5,300; more do not help.
const syncWorkers = 8

// syncEach syncs every file by itself. It works on every system.
func syncEach(_ *os.Root, temps []temp) error {
	queue := make(chan temp)
	errs := make([]error, min(syncWorkers, len(temps)))
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			for t := range queue {
				errs[i] = errors.Join(errs[i], t.file.Sync())
			}
		})
	}
	for _, t := range temps {
		queue <- t
	}
	close(queue)
	workers.Wait()
	return errors.Join(errs...)
}

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
