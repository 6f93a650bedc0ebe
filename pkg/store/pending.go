package store

import (
	"errors"
	"io"
	"path"
	"path/filepath"
)

// Pending is a file that is being written: it has a temporary name until Commit. Its writer may also
// open it by Path. It is not safe for concurrent use.
type Pending struct {
	store *Store
	temp  temp
	done  bool
}

// Begin creates a file that has a temporary name in the folder of its name. The caller commits or
// discards it. Its error wraps ErrNotWritable.
func (s *Store) Begin(name string) (*Pending, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	folder, err := s.folder(name)
	if err != nil {
		return nil, s.notWritable("writing", name, err)
	}
	t, err := writeTemp(folder, name, func(io.Writer) error { return nil })
	if err != nil {
		return nil, errors.Join(s.notWritable("writing", name, err), folder.Close())
	}
	return &Pending{store: s, temp: t}, nil
}

// Name returns the name that the file gets.
func (p *Pending) Name() string { return p.temp.name }

// Path returns the path of the temporary file.
func (p *Pending) Path() string {
	return filepath.Join(p.store.dir, filepath.FromSlash(path.Dir(p.temp.name)), p.temp.tempName)
}

// Write appends to the file. Its error wraps ErrNotWritable.
func (p *Pending) Write(data []byte) (int, error) {
	n, err := p.temp.file.Write(data)
	if err != nil {
		err = p.NotWritable(err)
	}
	return n, err
}

// NotWritable returns the error of a file that cannot be written because of err.
func (p *Pending) NotWritable(err error) error {
	return p.store.notWritable("writing", p.temp.name, err)
}

// Discard removes the file, unless it was committed or discarded before.
func (p *Pending) Discard() {
	if p.done {
		return
	}
	p.done = true
	discard([]temp{p.temp})
	_ = p.temp.folder.Close()
}

// Commit makes files of the store durable and then gives them their names, in this order. If it
// fails, those that have no name yet are removed. Its error wraps ErrNotWritable.
func (s *Store) Commit(files ...*Pending) error {
	temps := make([]temp, len(files))
	for i, p := range files {
		temps[i] = p.temp
		p.done = true
		defer func() { _ = p.temp.folder.Close() }()
	}
	if err := s.Check(); err != nil {
		discard(temps)
		return err
	}
	return s.commit(temps)
}
