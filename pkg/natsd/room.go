package natsd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// leastRoom is what a store needs to begin with. The streams of an empty one take 250 KiB. A disk that is full while they
// are made, or right after, leaves a server of which some parts answer for ever that nothing is there.
const leastRoom = 1 << 20

// room says why dir has less than leastRoom: it is written, because a quota or a limit on the process is no less a wall than
// the end of the disk. The bytes are random: a disk that squeezes them would promise too much.
func room(dir string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w: data_dir needs %d KiB of free room: %w", ErrStart, leastRoom>>10, err)
		}
	}()
	block := make([]byte, leastRoom)
	_, _ = rand.Read(block) // never fails
	name := filepath.Join(dir, "room.tmp")
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(block)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close(), os.Remove(name))
}
