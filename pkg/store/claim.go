package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ErrClaimed reports that another process writes the same part of a folder from another ledger. It
// comes with ErrNotWritable.
var ErrClaimed = errors.New("in use by another process")

// claimRetryInterval is the interval of the attempts to claim what another process holds,
// claimTimeout their duration: a process that is ending releases its claim.
const claimRetryInterval, claimTimeout = 10 * time.Millisecond, 500 * time.Millisecond

// Owner describes the process that writes a part of a folder.
type Owner struct {
	PID int `json:"pid"`
	// Ledger identifies the ledger that the files are derived from, equal for all processes that
	// work on it; Where describes it for people.
	Ledger string `json:"ledger"`
	Where  string `json:"where"`
}

// Claim reserves a part of the folder for processes with the same ledger: others would write other
// contents into the same files. Any number of processes with that ledger may hold it, until release
// or the end of the process. A locked file names the owner; the last holder removes it. Where files
// cannot be locked nobody is refused. If another ledger's process holds the part, the error wraps
// ErrClaimed and ErrNotWritable and names it.
func (s *Store) Claim(part string, owner Owner) (release func() error, err error) {
	name := ".fct-writer-" + part + ".lock"
	for begun := time.Now(); ; time.Sleep(claimRetryInterval) {
		file, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return nil, s.notWritable("opening", name, err)
		}
		holder, held, err := claim(file, owner)
		if err == nil && held && s.isNameOf(name, file) {
			return func() error { return s.release(name, file) }, nil
		}
		if err == nil && !held && time.Since(begun) > claimTimeout {
			err = fmt.Errorf("%w: process %d (%s) writes the files of %s there: wait for its end, or give another output",
				ErrClaimed, holder.PID, holder.Where, part)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, notWritable("writing to", s.dir, err)
		}
	}
}

// isNameOf reports whether name is still the name of file, which may have been removed before it
// was locked.
func (s *Store) isNameOf(name string, file *os.File) bool {
	named, err := s.root.Stat(name)
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(named, opened)
}

// release ends a claim, and removes its file unless another process holds it too. A remaining file
// is harmless.
func (s *Store) release(name string, file *os.File) error {
	alone, err := lockNow(file, false)
	if alone {
		_ = s.root.Remove(name)
	}
	return errors.Join(err, file.Close())
}

// claim tries once to hold the file: exclusively, to write the owner, then shared with others of
// the same ledger.
func claim(file *os.File, owner Owner) (holder Owner, held bool, err error) {
	alone, err := lockNow(file, false)
	if err != nil {
		return holder, false, err
	}
	if alone {
		if err := writeOwner(file, owner); err != nil {
			return holder, false, err
		}
	} else if holder = readOwner(file); holder.Ledger != owner.Ledger {
		return holder, false, nil
	}
	if held, err = lockNow(file, true); err != nil || !held {
		return holder, false, err
	}
	// Between the two locks another process may have held the file exclusively.
	if holder = readOwner(file); holder.Ledger == owner.Ledger {
		return holder, true, nil
	}
	return holder, false, unlock(file)
}

func writeOwner(file *os.File, owner Owner) error {
	text, err := json.Marshal(owner)
	if err == nil {
		err = file.Truncate(0)
	}
	if err == nil {
		_, err = file.WriteAt(append(text, '\n'), 0)
	}
	return err
}

// readOwner returns the owner in the file; the zero value while it is being written.
func readOwner(file *os.File) (owner Owner) {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 4<<10))
	if err != nil || json.Unmarshal(text, &owner) != nil {
		return Owner{}
	}
	return owner
}
