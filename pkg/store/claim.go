package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ErrClaimed says that another process writes the same part of a folder from another ledger. It comes with ErrNotWritable.
var ErrClaimed = errors.New("in use by another process")

// A claim that another process has is looked at again this often, for so long: one that has just ended holds nothing.
const claimAgain, claimLimit = 10 * time.Millisecond, 500 * time.Millisecond

// Owner is who writes a part of a folder.
type Owner struct {
	PID int `json:"pid"`
	// Ledger is what the files are derived from, equal for all processes that work over the same; Where is how people find it.
	Ledger string `json:"ledger"`
	Where  string `json:"where"`
}

// Claim keeps every process off a part of the folder that would write other contents into the same files: one with another
// ledger. Any number of processes with the same ledger may hold it. It ends with release, or with the process, and is kept by a
// locked file that says whose it is, which the last one removes; where files cannot be locked it keeps nobody off. The error of a
// part that somebody else has wraps ErrClaimed and ErrNotWritable, and names him.
func (s *Store) Claim(part string, owner Owner) (release func() error, err error) {
	name := ".fct-writer-" + part + ".lock"
	for begun := time.Now(); ; time.Sleep(claimAgain) {
		file, err := s.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
		if err != nil {
			return nil, s.notWritable("opening", name, err)
		}
		holder, held, err := claim(file, owner)
		if err == nil && held && s.leadsTo(name, file) {
			return func() error { return s.release(name, file) }, nil
		}
		if err == nil && !held && time.Since(begun) > claimLimit {
			err = fmt.Errorf("%w: process %d (%s) writes the files of %s there: wait for its end, or give another output",
				ErrClaimed, holder.PID, holder.Where, part)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, notWritable("writing to", s.dir, err)
		}
	}
}

// leadsTo says whether name is that of the file, which may have been removed before it was locked.
func (s *Store) leadsTo(name string, file *os.File) bool {
	there, err := s.root.Stat(name)
	if err != nil {
		return false
	}
	opened, err := file.Stat()
	return err == nil && os.SameFile(there, opened)
}

// release gives a claim back, and removes its file unless somebody else holds it too. One that stays misleads nobody.
func (s *Store) release(name string, file *os.File) error {
	alone, err := lockNow(file, false)
	if alone {
		_ = s.root.Remove(name)
	}
	return errors.Join(err, file.Close())
}

// claim tries once to hold the file: alone, to write down the owner, and then beside others with the same ledger.
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
	// Between the two locks another process may have been alone.
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

// readOwner is who wrote himself down; nobody while that is under way.
func readOwner(file *os.File) (owner Owner) {
	text, err := io.ReadAll(io.NewSectionReader(file, 0, 4<<10))
	if err != nil || json.Unmarshal(text, &owner) != nil {
		return Owner{}
	}
	return owner
}
