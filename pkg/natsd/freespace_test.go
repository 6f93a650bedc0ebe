package natsd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startWatched starts a server with a stream on dir and watches it; the channel gets the result of
// WatchDisk.
func startWatched(t *testing.T, dir string) (*natsd.Server, jetstream.JetStream, <-chan error) {
	t.Helper()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := server.Connect(nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "STORED", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.WatchDisk(ctx) }()
	t.Cleanup(func() {
		stop()
		nc.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, js, ended
}

// wantNoSpace waits for the end of a watch, which must be ErrNoSpace with all of the texts.
func wantNoSpace(t *testing.T, ended <-chan error, texts ...string) {
	t.Helper()
	var err error
	select {
	case err = <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the watch has noticed nothing")
	}
	if !errors.Is(err, natsd.ErrNoSpace) {
		t.Fatalf("%v, want ErrNoSpace", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in: %v", text, err)
		}
	}
}

func TestWatchDisk_AlmostFull(t *testing.T) {
	t.Parallel()
	disk, mounted := fcttest.Disk(t, "size=24m")
	if !mounted {
		return // needs a file system of its own
	}
	dir := filepath.Join(disk, "data")
	_, js, ended := startWatched(t, dir)
	empty := fcttest.Fill(t, disk, 3<<20)
	wantNoSpace(t, ended, "data_dir "+dir, "3145728 bytes free", "the largest stream is STORED")
	if _, err := js.Publish(t.Context(), "s", make([]byte, 1<<20)); err != nil {
		t.Errorf("the server had broken already: %v", err)
	}
	empty()
}

func TestWatchDisk_NoFreeFiles(t *testing.T) {
	t.Parallel()
	disk, mounted := fcttest.Disk(t, "size=64m,nr_inodes=400")
	if !mounted {
		return
	}
	_, _, ended := startWatched(t, filepath.Join(disk, "data"))
	for i := range 400 {
		if err := os.WriteFile(filepath.Join(disk, "file"+strings.Repeat("x", i%200)+string(rune('a'+i/200))), nil, 0o600); err != nil {
			break
		}
	}
	wantNoSpace(t, ended, "more files fit, 64 are needed")
}

func TestWatchDisk_FolderRemovedOrReplaced(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	server, _, ended := startWatched(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	wantNoSpace(t, ended, "data_dir "+dir, "removed or replaced")
	// Another folder in its place does not count: a server on it would begin with an empty store.
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	told := 0
	ctx, stop := context.WithCancel(t.Context())
	err := server.AwaitSpace(ctx, func(error) {
		if told++; told == 2 {
			stop()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want to wait on", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	if err := server.AwaitSpace(t.Context(), func(err error) { t.Error(err) }); err != nil {
		t.Error(err)
	}
}

// TestWatchDisk_FailedWrite: a message above the free space breaks the stream, even if space is
// freed later.
func TestWatchDisk_FailedWrite(t *testing.T) {
	t.Parallel()
	disk, mounted := fcttest.Disk(t, "size=24m")
	if !mounted {
		return
	}
	server, js, ended := startWatched(t, filepath.Join(disk, "data"))
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if _, err := js.Publish(ctx, "s", make([]byte, 28<<20)); err == nil {
		t.Fatal("28 MiB were stored in 24")
	}
	wantNoSpace(t, ended, "STORED")
	// The partial write is removed again, and the stream stays broken.
	broken := func() bool {
		err := server.Health()
		return err != nil && strings.Contains(err.Error(), "no space left on device")
	}
	for began := time.Now(); !broken(); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the failed write was not noticed: ", server.Health())
		}
	}
}

func TestStart_DiskFull(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"size=7m", "size=64m,nr_inodes=100", "ro,size=64m"} {
		disk, mounted := fcttest.Disk(t, options)
		if !mounted {
			return
		}
		dir := filepath.Join(disk, "data")
		if server, err := natsd.Start(dir); !errors.Is(err, natsd.ErrNoSpace) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "bytes free") {
			t.Errorf("%s: %v, want ErrNoSpace with folder and free bytes", options, err)
			if err == nil {
				_ = server.Close()
			}
		}
	}
}
