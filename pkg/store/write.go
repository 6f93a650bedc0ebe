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
)

// temp is a written, open, not yet durable file and the name it is to get.
type temp struct {
	file *os.File
	name string
	path string
}

// Write puts data under the name, replacing what was there: durable when it returns, and whole at any moment.
// Its error wraps ErrNotWritable, and the file is then as it was before.
func (s *Store) Write(name string, data []byte) error {
	return s.WriteAll([]File{{Name: name, Data: data}})
}

// WriteFrom is Write for a file too large to hold: write is called once with a buffered writer. An error of
// write's own does not match ErrNotWritable.
func (s *Store) WriteFrom(name string, write func(io.Writer) error) error {
	var own error
	t, err := s.writeTemp(name, func(w io.Writer) error {
		noted := &noting{w: w}
		err := write(noted)
		if noted.err == nil {
			own = err
		}
		return err
	})
	switch {
	case own != nil:
		return fmt.Errorf("writing %q: %w", name, own)
	case err != nil:
		return notWritable("writing", name, err)
	}
	return s.finish([]temp{t})
}

// noting remembers that writing failed, so that it can be told from its caller's other errors.
type noting struct {
	w   io.Writer
	err error
}

func (n *noting) Write(data []byte) (int, error) {
	written, err := n.w.Write(data)
	if err != nil {
		n.err = err
	}
	return written, err
}

// batchSize bounds how many files are open at once.
const batchSize = 256

// WriteAll writes many files for the price of few syncs. When it fails some of the files may be written and
// the others are as they were; its error wraps ErrNotWritable. A name that comes twice gets the later data.
func (s *Store) WriteAll(files []File) error {
	for len(files) > 0 {
		size := min(len(files), batchSize)
		if err := s.writeBatch(files[:size]); err != nil {
			return err
		}
		files = files[size:]
	}
	return nil
}

func (s *Store) writeBatch(files []File) error {
	temps := make([]temp, 0, len(files))
	for _, file := range files {
		t, err := s.writeTemp(file.Name, func(w io.Writer) error {
			_, err := w.Write(file.Data)
			return err
		})
		if err != nil {
			s.discard(temps)
			return notWritable("writing", file.Name, err)
		}
		temps = append(temps, t)
	}
	return s.finish(temps)
}

// finish makes the temporary files durable, gives them their names and makes those durable.
func (s *Store) finish(temps []temp) error {
	if len(temps) == 0 {
		return nil
	}
	if err := s.sync(s.root, temps); err != nil {
		s.discard(temps)
		return notWritable("syncing", temps[0].name, err)
	}
	folders := map[string]bool{}
	for i, t := range temps {
		if err := t.file.Close(); err != nil {
			s.discard(temps[i:])
			return notWritable("closing", t.name, err)
		}
		if err := s.root.Rename(t.path, t.name); err != nil {
			s.discard(temps[i:])
			return notWritable("renaming", t.name, err)
		}
		folders[path.Dir(t.name)] = true
	}
	if err := s.syncFolders(folders); err != nil {
		return notWritable("syncing the folder of", temps[0].name, err)
	}
	return nil
}

// Create is Write for a name that must be free: an existing file is left alone and the error is fs.ErrExist.
// Of two that ask at the same time one gets the name, on file systems that know hard links.
func (s *Store) Create(name string, data []byte) error {
	t, err := s.writeTemp(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return notWritable("writing", name, err)
	}
	if err := s.sync(s.root, []temp{t}); err != nil {
		s.discard([]temp{t})
		return notWritable("syncing", name, err)
	}
	err = s.claim(t)
	s.discard([]temp{t})
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("creating %q: %w", name, err)
	case err != nil:
		return notWritable("creating", name, err)
	}
	if err := s.syncFolders(map[string]bool{path.Dir(name): true}); err != nil {
		return notWritable("syncing the folder of", name, err)
	}
	return nil
}

func (s *Store) claim(t temp) error {
	linked := s.root.Link(t.path, t.name)
	if linked == nil || errors.Is(linked, fs.ErrExist) {
		return linked
	}
	if _, err := s.root.Lstat(t.name); err == nil {
		return fs.ErrExist
	}
	return s.root.Rename(t.path, t.name)
}

func (s *Store) writeTemp(name string, write func(io.Writer) error) (temp, error) {
	if !fs.ValidPath(name) || name == "." {
		return temp{}, fmt.Errorf("name %q: %w", name, fs.ErrInvalid)
	}
	t := temp{name: name, path: path.Join(path.Dir(name), fmt.Sprintf("%s%016x", tempPrefix, rand.Uint64()))}
	var err error
	if t.file, err = s.open(t.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL); err != nil {
		return temp{}, err
	}
	buffered := bufio.NewWriter(t.file)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		s.discard([]temp{t})
		return temp{}, err
	}
	return t, nil
}

// open opens a file and makes its folder only when that is missing, which is rare.
func (s *Store) open(name string, flag int) (*os.File, error) {
	file, err := s.root.OpenFile(name, flag, 0o644)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := s.makeFolder(path.Dir(name)); err != nil {
		return nil, err
	}
	return s.root.OpenFile(name, flag, 0o644)
}

// discard gives up temporary files. What cannot be removed now is removed by the next Open.
func (s *Store) discard(temps []temp) {
	for _, t := range temps {
		_ = t.file.Close()
		_ = s.root.Remove(t.path)
	}
}
