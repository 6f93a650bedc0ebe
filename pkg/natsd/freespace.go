package natsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"fct-scraper/pkg/delay"
)

// ErrNoSpace reports that data_dir cannot store anything: it is full, over a quota, read-only,
// removed or replaced. The error names the folder and its free bytes. The server has to be closed
// then, and can be started again once there is space.
var ErrNoSpace = errors.New("no space to store anything")

const (
	// minFreeBytes must stay free while a server runs. A server that fills its disk stops replying
	// until it is restarted, so it is closed before. A busy run writes 3 MiB between two checks.
	minFreeBytes = 4 << 20
	// minFreeFiles is how many files must still fit, if the file system limits their number.
	minFreeFiles = 64
	// startFactor multiplies these limits before a start: with less space the server would stop at
	// once.
	startFactor = 2
	// checkInterval is how often a running server, or one that waits for space, checks the free
	// space.
	checkInterval = 250 * time.Millisecond
	// trialBytes is written before a start: no figure shows a quota or a limit of the process. The
	// streams of an empty store take 250 KiB.
	trialBytes = 1 << 20
	trialName  = "freespace.tmp"
)

// fileSystem is what a file system reports about itself.
type fileSystem struct {
	freeBytes, freeFiles uint64
	// countsFiles: the number of files is limited. readOnly: nothing can be written.
	countsFiles, readOnly bool
}

// WatchDisk returns an error that wraps ErrNoSpace when the store runs out of space or stops
// storing, and nil when ctx ends.
func (s *Server) WatchDisk(ctx context.Context) error {
	for {
		if err := s.Health(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.log.broken:
		case <-time.After(checkInterval):
		}
	}
}

// Health returns why the store cannot be relied on any more, as an error that wraps ErrNoSpace; nil
// if it can.
func (s *Server) Health() error {
	err := s.log.failedWrite()
	if err == nil && !s.nats.JetStreamEnabled() {
		err = errors.New("the server has closed its store")
	}
	if err == nil {
		err = s.checkSameFolder()
	}
	switch full := checkFree(s.dir, 1); {
	case full == nil:
	case err == nil:
		err = fmt.Errorf("%w; the largest stream is %s", full, largestStream(s.dir))
	default: // the server's own error seldom names the cause
		err = fmt.Errorf("%w; %w", full, err)
	}
	return noSpaceError(s.dir, err)
}

// AwaitSpace waits until a closed server can be started again on its folder, and passes each reason
// why it cannot to notify. It returns an error only when ctx ends.
func (s *Server) AwaitSpace(ctx context.Context, notify func(error)) error {
	for {
		err := noSpaceError(s.dir, s.checkSameFolder())
		if err == nil {
			err = checkStartSpace(s.dir)
		}
		if err == nil {
			return nil
		}
		notify(err)
		if err := delay.Sleep(ctx, checkInterval); err != nil {
			return fmt.Errorf("waiting for space in data_dir %s: %w", s.dir, err)
		}
	}
}

// checkSameFolder returns an error unless the folder is the one that the server was started on. A
// server on another one would begin with an empty store, and every number would be fetched again.
func (s *Server) checkSameFolder() error {
	current, err := os.Stat(filepath.Join(s.dir, lockName))
	if err == nil && !os.SameFile(s.lockInfo, current) {
		err = errors.New("another one is in its place")
	}
	if err != nil {
		return fmt.Errorf("the folder was removed or replaced in use, put it back: %w", err)
	}
	return nil
}

// checkStartSpace returns an error that wraps ErrNoSpace unless dir has space for a server to
// start.
func checkStartSpace(dir string) error {
	err := checkFree(dir, startFactor)
	if err == nil {
		err = tryWrite(dir)
	}
	return noSpaceError(dir, err)
}

// checkFree returns an error if the file system reports less than factor times the minimum.
func checkFree(dir string, factor uint64) error {
	free, err := statFileSystem(dir)
	switch {
	case err != nil:
		return err
	case free.readOnly:
		return errors.New("the file system is read-only")
	case free.freeBytes < factor*minFreeBytes:
		return fmt.Errorf("%d KiB are needed", factor*minFreeBytes>>10)
	case free.countsFiles && free.freeFiles < factor*minFreeFiles:
		return fmt.Errorf("%d more files fit, %d are needed", free.freeFiles, factor*minFreeFiles)
	}
	return nil
}

// tryWrite writes trialBytes into dir. The bytes are random because a compressing file system would
// report a success that says nothing.
func tryWrite(dir string) (err error) {
	block := make([]byte, trialBytes)
	_, _ = rand.Read(block) // never fails
	name := filepath.Join(dir, trialName)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err == nil {
		_, err = file.Write(block)
		if err == nil {
			err = file.Sync()
		}
		err = errors.Join(err, file.Close(), os.Remove(name))
	}
	if err != nil {
		return fmt.Errorf("trying %d KiB: %w", trialBytes>>10, err)
	}
	return nil
}

// asNoSpace wraps err in ErrNoSpace if the file system refused a write.
func asNoSpace(dir string, err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EFBIG} {
		if errors.Is(err, full) {
			return noSpaceError(dir, err)
		}
	}
	return err
}

// noSpaceError wraps err in ErrNoSpace, with the folder and its free bytes; nil stays nil.
func noSpaceError(dir string, err error) error {
	if err == nil {
		return nil
	}
	left := "free bytes unknown"
	free, stat := statFileSystem(dir)
	if errors.Is(stat, fs.ErrNotExist) { // it could not be created
		free, stat = statFileSystem(filepath.Dir(dir))
	}
	if stat == nil {
		left = fmt.Sprintf("%d bytes free", free.freeBytes)
	}
	return fmt.Errorf("%w: data_dir %s: %s: %w", ErrNoSpace, dir, left, err)
}

// largestStream returns the name and size of the largest stream of the store below dir.
func largestStream(dir string) string {
	folders, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*"))
	if err != nil || len(folders) == 0 {
		return "unknown"
	}
	name, most := "", int64(-1)
	for _, folder := range folders {
		size := int64(0)
		// Files that vanish meanwhile take no space.
		_ = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return nil
			}
			if info, err := entry.Info(); err == nil {
				size += info.Size()
			}
			return nil
		})
		if size > most {
			name, most = filepath.Base(folder), size
		}
	}
	return fmt.Sprintf("%s with %d KiB", name, most>>10)
}
