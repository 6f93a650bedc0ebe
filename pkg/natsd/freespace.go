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

// ErrNoSpace says that data_dir cannot hold what is to be stored: it is full, beyond a quota, read-only, gone or replaced. The
// error names the folder and its free bytes. The server has to be closed then, and started again once there is room.
var ErrNoSpace = errors.New("no room to store anything")

const (
	// minFreeBytes is how many bytes must stay free while a server works. A server that meets the end of its disk answers
	// nothing any more until it is started again, so it is to be stopped before. A busy run writes 3 MiB between two looks.
	minFreeBytes = 4 << 20
	// minFreeFiles is how many files must still fit, where the file system counts them.
	minFreeFiles = 64
	// startFactor is how much more than that must be free before a server is started: on less it would stop at once.
	startFactor = 2
	// checkInterval is how often a server that works, or that waits for room, looks at what is free.
	checkInterval = 250 * time.Millisecond
	// trialBytes is written before a server is started: a quota or a limit on the process is no less a wall than the end of
	// the disk, and no figure shows it. The streams of an empty store take 250 KiB.
	trialBytes = 1 << 20
	trialName  = "room.tmp"
)

// WatchDisk returns ErrRoom when the store has too little room left to go on or takes nothing any more, nil when ctx ends.
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

// Health says, as ErrRoom, why the store cannot be relied on any more; nil when it can.
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
	default: // what the server met seldom tells why
		err = fmt.Errorf("%w; %w", full, err)
	}
	return noSpaceError(s.dir, err)
}

// AwaitSpace waits until a server that was closed can be started again on its folder; each reason why not goes to told. Its error
// is that ctx has ended.
func (s *Server) AwaitSpace(ctx context.Context, told func(error)) error {
	for {
		err := noSpaceError(s.dir, s.checkSameFolder())
		if err == nil {
			err = checkStartSpace(s.dir)
		}
		if err == nil {
			return nil
		}
		told(err)
		if err := delay.Sleep(ctx, checkInterval); err != nil {
			return fmt.Errorf("waiting for room in data_dir %s: %w", s.dir, err)
		}
	}
}

// checkSameFolder says why the folder is not the one any more that the server was started on. A server on another one would begin
// with an empty store, and everything would be asked for again.
func (s *Server) checkSameFolder() error {
	there, err := os.Stat(filepath.Join(s.dir, lockName))
	if err == nil && !os.SameFile(s.lockInfo, there) {
		err = errors.New("another one is in its place")
	}
	if err != nil {
		return fmt.Errorf("the folder was removed or replaced in use, put it back: %w", err)
	}
	return nil
}

// checkStartSpace says, as ErrRoom, why dir has no room for a server to start with.
func checkStartSpace(dir string) error {
	err := checkFree(dir, startFactor)
	if err == nil {
		err = tryWrite(dir)
	}
	return noSpaceError(dir, err)
}

// checkFree says why dir has less than factor times the floors, as far as its file system tells.
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

// tryWrite writes leastRoom into dir. The bytes are random: a disk that compresses them would promise too much.
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

// asNoSpace is err as ErrRoom when the file system says that it takes nothing more.
func asNoSpace(dir string, err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EFBIG} {
		if errors.Is(err, full) {
			return noSpaceError(dir, err)
		}
	}
	return err
}

// noSpaceError is err as ErrRoom, with the folder and what is free in it; nil stays nil.
func noSpaceError(dir string, err error) error {
	if err == nil {
		return nil
	}
	left := "free bytes unknown"
	free, stat := statFileSystem(dir)
	if errors.Is(stat, fs.ErrNotExist) { // it could not be made
		free, stat = statFileSystem(filepath.Dir(dir))
	}
	if stat == nil {
		left = fmt.Sprintf("%d bytes free", free.freeBytes)
	}
	return fmt.Errorf("%w: data_dir %s: %s: %w", ErrNoSpace, dir, left, err)
}

// largestStream names the stream that takes most of the store below dir.
func largestStream(dir string) string {
	folders, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*"))
	if err != nil || len(folders) == 0 {
		return "unknown"
	}
	name, most := "", int64(-1)
	for _, folder := range folders {
		size := int64(0)
		// What vanishes meanwhile takes no room.
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
