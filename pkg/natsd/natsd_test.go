package natsd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/natsd"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func withStore(t *testing.T, dir string, use func(jetstream.JetStream)) {
	t.Helper()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	// Large messages are slow under the race detector.
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	use(js)
	nc.Close()
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestServer_RestartKeepsMessages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	withStore(t, dir, func(js jetstream.JetStream) {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(t.Context(), "s", make([]byte, 20<<20)); err != nil {
			t.Fatalf("a message of 20 MiB: %v", err)
		}
	})
	withStore(t, dir, func(js jetstream.JetStream) {
		stream, err := js.Stream(t.Context(), "S")
		if err != nil {
			t.Fatal(err)
		}
		msg, err := stream.GetMsg(t.Context(), 1)
		if err != nil || len(msg.Data) != 20<<20 {
			t.Errorf("read back: %v", err)
		}
	})
}

func TestStart_FolderLocked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server, err := natsd.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = natsd.Start(dir)
	if !errors.Is(err, natsd.ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("%v, want ErrLocked and process %d", err, os.Getpid())
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := natsd.Start(dir)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestStart_UnusableFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if server, err := natsd.Start(dir); err == nil {
			t.Errorf("%s: started", dir)
			_ = server.Close()
		}
	}
}

func TestStart_StoreIsAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := natsd.Start(dir)
	if !errors.Is(err, natsd.ErrStart) || !strings.Contains(err.Error(), "storage directory") {
		t.Errorf("%v, want ErrStart and what the server says of its folder", err)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %v: the server was waited for although it had given up", took)
	}
}

// TestStart_RemovesTrialFile: also one that a killed process left.
func TestStart_RemovesTrialFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tried := filepath.Join(dir, "freespace.tmp")
	if err := os.WriteFile(tried, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	withStore(t, dir, func(jetstream.JetStream) {
		if _, err := os.Stat(tried); !errors.Is(err, os.ErrNotExist) {
			t.Error("the trial is still there: ", err)
		}
	})
}

func TestFolderThatIsALinkToNowhere(t *testing.T) {
	link := filepath.Join(t.TempDir(), "data")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Start(link); err == nil || !strings.Contains(err.Error(), strconv.Quote(link)+` is a symbolic link to "nowhere"`) {
		t.Errorf("%v", err)
	}
}
