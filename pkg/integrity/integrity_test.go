package integrity_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
	"fct-scraper/pkg/integrity"
	"fct-scraper/pkg/natsd"
	"fct-scraper/streams"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a store with its folder and an output folder.
type fixture struct {
	t *testing.T
	b *bus.Bus
	integrity.Options
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	b := fcttest.Broker(t)
	return fixture{t, b, integrity.Options{Bus: b, Log: fcttest.Logger(t), Dir: t.TempDir(), Output: t.TempDir()}}
}

func (f fixture) publish(subject, body string) {
	f.t.Helper()
	if _, err := f.b.Publish(f.t.Context(), &nats.Msg{Subject: subject, Data: []byte(body)}); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// open checks the store, restores what is to be restored, and writes what it holds.
func (f fixture) open() (*integrity.Guard, error) {
	f.t.Helper()
	guard, err := integrity.Check(f.t.Context(), f.Options)
	if err != nil {
		return nil, err
	}
	f.must(streams.Ensure(f.t.Context(), f.b.JetStream(), streams.Options{}))
	f.must(guard.Restore(f.t.Context()))
	f.must(guard.Record(f.t.Context(), func(err error) { f.t.Error(err) }))
	return guard, guard.Close(f.t.Context())
}

func (f fixture) purge(stream string, opts ...jetstream.StreamPurgeOpt) {
	f.t.Helper()
	s, err := f.b.JetStream().Stream(f.t.Context(), stream)
	f.must(err)
	f.must(s.Purge(f.t.Context(), opts...))
}

func (f fixture) remove(stream string) {
	f.t.Helper()
	f.must(f.b.JetStream().DeleteStream(f.t.Context(), stream))
}

func TestCheck_LaterState(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	grow := func(text string) {
		f.publish("outcome.run.0", text)
		f.publish("$KV.runs.run.state", text)
		f.publish("$KV.collected.IMM.25."+text, text)
	}
	grow("1")
	_, err := f.open()
	f.must(err)
	grow("2") // by a process that was killed before it wrote the manifest
	guard, err := f.open()
	f.must(err)
	if len(guard.Restored()) > 0 || !guard.NeedsVerify() {
		t.Errorf("restored %q, doubtful %t; want nothing restored, and the keys compared", guard.Restored(), guard.NeedsVerify())
	}
	if guard, err = f.open(); err != nil || guard.NeedsVerify() {
		t.Errorf("after a clean end: %v, doubtful %t", err, guard.NeedsVerify())
	}
}

// TestCheck_NewestMessagesPurged purges what was stored last, as the end of a run does with its jobs
// while a stopped run keeps its own.
func TestCheck_NewestMessagesPurged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish("job.stopped.1", "1")
	f.publish("job.completed.1", "2")
	f.purge(contract.StreamJobs, jetstream.WithPurgeSubject("job.completed.*"))
	guard, err := f.open()
	f.must(err)
	if len(guard.Restored()) > 0 {
		t.Errorf("restored %q, want nothing", guard.Restored())
	}
}

// TestCheck_ForeignOutput: only who writes files needs the output folder of the store.
func TestCheck_ForeignOutput(t *testing.T) {
	t.Parallel()
	f, other := newFixture(t), newFixture(t)
	for _, each := range []fixture{f, other} {
		each.publish("outcome.run.0", each.Dir)
		_, err := each.open()
		f.must(err)
	}
	f.Output = other.Output
	if _, err := f.open(); !errors.Is(err, integrity.ErrDamaged) {
		t.Errorf("%v, want that the files are those of another store", err)
	}
	f.AnyOutput = true
	_, err := f.open()
	f.must(err)
	if files, err := os.ReadDir(f.Output); err != nil || len(files) != 1 {
		t.Errorf("%v, %v: want only the fingerprint of the other store", files, err)
	}
}

// TestCheck_OutputIsNoFolder: the writer of the output reports it; the store is not damaged.
func TestCheck_OutputIsNoFolder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish("outcome.run.0", "1")
	f.must(os.RemoveAll(f.Output))
	f.must(os.WriteFile(f.Output, nil, 0o600))
	_, err := f.open()
	f.must(err)
	f.purge(contract.StreamOutcomes)
	if _, err := f.open(); !errors.Is(err, integrity.ErrDamaged) {
		t.Errorf("%v: the manifest beside the store was not written", err)
	}
}

func TestCheck_LedgerLostMessages(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(fixture){
		"gone":      func(f fixture) { f.remove(contract.StreamOutcomes) },
		"emptied":   func(f fixture) { f.purge(contract.StreamOutcomes) },
		"first":     func(f fixture) { f.purge(contract.StreamOutcomes, jetstream.WithPurgeKeep(2)) },
		"exchanged": func(f fixture) { f.replaceLedger("x", "y", "z", "more") },
		"rolled back": func(f fixture) {
			f.replaceLedger("1", "2")
			f.must(os.Remove(filepath.Join(f.Dir, "manifest.json"))) // the fingerprint in output is left
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			for _, body := range []string{"1", "2", "3"} {
				f.publish("outcome.run.0", body)
			}
			_, err := f.open()
			f.must(err)
			spoil(f)
			if _, err := f.open(); !errors.Is(err, integrity.ErrDamaged) || !strings.Contains(err.Error(), contract.StreamOutcomes) || !strings.Contains(err.Error(), "--repair") {
				t.Fatalf("%v", err)
			}
			f.Repair = true
			guard, err := f.open()
			if err != nil || !guard.AcceptedDamage() || !guard.NeedsVerify() {
				t.Fatalf("accepted: %v", err)
			}
			f.Repair = false
			if guard, err = f.open(); err != nil || len(guard.Restored()) > 0 {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// replaceLedger puts another ledger in the place of the one that is there.
func (f fixture) replaceLedger(bodies ...string) {
	f.remove(contract.StreamOutcomes)
	f.must(streams.Ensure(f.t.Context(), f.b.JetStream(), streams.Options{}))
	for _, body := range bodies {
		f.publish("outcome.run.0", body)
	}
}

func TestRestore_CopiedKeys(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(fixture){
		"gone":    func(f fixture) { f.remove("KV_runs") },
		"emptied": func(f fixture) { f.purge("KV_runs") },
		"one key": func(f fixture) { f.purge("KV_runs", jetstream.WithPurgeSubject("$KV.runs.run.manifest")) },
		"foreign": func(f fixture) {
			f.remove("KV_runs")
			f.must(streams.Ensure(f.t.Context(), f.b.JetStream(), streams.Options{}))
			for range 9 {
				f.publish("$KV.runs.other.state", "other")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.publish("$KV.runs.run.manifest", "manifest")
			f.publish("$KV.runs.run.state", "running")
			f.publish("$KV.runs.run.state", "completed")
			_, err := f.open()
			f.must(err)
			spoil(f)
			guard, err := f.open()
			f.must(err)
			if len(guard.Restored()) != 1 || !strings.HasPrefix(guard.Restored()[0], "KV_runs: ") {
				t.Errorf("restored %q", guard.Restored())
			}
			kv, err := f.b.KV(t.Context(), contract.BucketRuns)
			f.must(err)
			for key, want := range map[string]string{"run.manifest": "manifest", "run.state": "completed"} {
				if entry, err := kv.Get(t.Context(), key); err != nil || string(entry.Value()) != want {
					t.Errorf("%s: %v", key, err)
				}
			}
			if _, err := kv.Get(t.Context(), "other.state"); !errors.Is(err, jetstream.ErrKeyNotFound) {
				t.Errorf("a key of another store: %v", err)
			}
		})
	}
}

// TestRestore_ForeignKeys puts a bucket of another store, with more messages, in the place of one
// that the ledger has in it.
func TestRestore_ForeignKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish("$KV.collected.IMM.25.1", "1")
	f.publish("$KV.collected.IMM.25.2", "2")
	_, err := f.open()
	f.must(err)
	f.remove("KV_collected")
	f.must(streams.Ensure(t.Context(), f.b.JetStream(), streams.Options{}))
	for _, number := range []string{"1", "2", "3"} {
		f.publish("$KV.collected.IMM.24."+number, number)
	}
	f.ReadOnly = true
	if _, err := integrity.Check(t.Context(), f.Options); !errors.Is(err, integrity.ErrDamaged) || !strings.Contains(err.Error(), "KV_collected") {
		t.Errorf("read only: %v", err)
	}
	f.ReadOnly = false
	guard, err := f.open()
	f.must(err)
	if len(guard.Restored()) != 1 || !strings.HasPrefix(guard.Restored()[0], "KV_collected: ") {
		t.Errorf("restored %q", guard.Restored())
	}
	kv, err := f.b.KV(t.Context(), contract.BucketCollected)
	f.must(err)
	if _, err := kv.Get(t.Context(), "IMM.24.3"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a key of another store: %v", err)
	}
}

// storeFixture is a fixture with 500 keys on a server that can be restarted.
type storeFixture struct {
	fixture
	nc     *nats.Conn
	server *natsd.Server
}

func newStoreFixture(t *testing.T) *storeFixture {
	t.Helper()
	f := &storeFixture{fixture: fixture{t: t, Options: integrity.Options{Log: fcttest.Logger(t), Dir: t.TempDir(), Output: t.TempDir()}}}
	f.start()
	t.Cleanup(func() { f.end() })
	f.must(streams.Ensure(t.Context(), f.b.JetStream(), streams.Options{}))
	for n := range 500 {
		f.publish(fmt.Sprintf("$KV.collected.IMM.25.%d", n+1), strings.Repeat("value", 20))
	}
	_, err := f.open()
	f.must(err)
	return f
}

func (f *storeFixture) start() {
	f.t.Helper()
	var err error
	f.server, err = natsd.Start(f.Dir)
	f.must(err)
	f.nc, err = f.server.Connect()
	f.must(err)
	f.b, err = bus.New(f.nc, f.Log, bus.Options{PublishTimeout: time.Minute})
	f.must(err)
	f.Bus = f.b
}

func (f *storeFixture) end() {
	f.t.Helper()
	f.nc.Close()
	f.must(f.server.Close())
}

// restart stops the server, calls meanwhile with the name of a block of the bucket collected, and starts it again.
func (f *storeFixture) restart(meanwhile func(block string)) {
	f.t.Helper()
	f.end()
	blocks, err := filepath.Glob(filepath.Join(f.Dir, natsd.StoreFolder, "*", "streams", "KV_collected", "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		f.t.Fatalf("blocks %q: %v", blocks, err)
	}
	meanwhile(blocks[0])
	f.start()
}

// reads reports how many messages opening the store received.
func (f *storeFixture) reads() (*integrity.Guard, uint64) {
	f.t.Helper()
	before := f.nc.Stats().InMsgs
	guard, err := integrity.Check(f.t.Context(), f.Options)
	f.must(err)
	return guard, f.nc.Stats().InMsgs - before
}

// TestCheck_UnchangedNotRead: after a clean end, the files tell that a bucket has not changed. A change of them, a
// new message, or an end that was not clean makes Check read it.
func TestCheck_UnchangedNotRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change   func(f *storeFixture)
		messages uint64
	}{
		"unchanged": {func(f *storeFixture) { f.restart(func(string) {}) }, 0},
		"copied elsewhere": {func(f *storeFixture) {
			f.restart(func(block string) { f.must(os.Chtimes(block, time.Time{}, time.Unix(1, 0))) })
		}, 0},
		"index removed": {func(f *storeFixture) {
			f.restart(func(block string) { f.must(os.Remove(filepath.Join(filepath.Dir(block), "index.db"))) })
		}, 0},
		"opened twice": {func(f *storeFixture) {
			_, err := f.open()
			f.must(err)
			f.restart(func(string) {})
		}, 0},
		"one more": {func(f *storeFixture) {
			f.publish("$KV.collected.IMM.25.501", "1")
			f.restart(func(string) {})
		}, 501},
		"one more, then a clean end": {func(f *storeFixture) {
			f.publish("$KV.collected.IMM.25.501", "1")
			_, err := f.open()
			f.must(err)
			f.restart(func(string) {})
		}, 0},
		"no clean end": {func(f *storeFixture) {
			guard, err := integrity.Check(f.t.Context(), f.Options)
			f.must(err)
			ctx, cancel := context.WithCancel(f.t.Context())
			f.must(guard.Record(ctx, func(err error) { f.t.Error(err) }))
			cancel()
			manifest, err := os.ReadFile(filepath.Join(f.Dir, "manifest.json")) // as a kill leaves it
			f.must(err)
			f.must(guard.Close(f.t.Context()))
			f.restart(func(string) { f.must(os.WriteFile(filepath.Join(f.Dir, "manifest.json"), manifest, 0o600)) })
		}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newStoreFixture(t)
			c.change(f)
			guard, got := f.reads()
			if got < c.messages || got > c.messages+100 {
				t.Errorf("%d messages were received, want at least %d, at most 100 more", got, c.messages)
			}
			if len(guard.Restored()) > 0 || guard.NeedsVerify() != (c.messages > 0) {
				t.Errorf("restored %q, to be compared with the ledger: %t", guard.Restored(), guard.NeedsVerify())
			}
		})
	}
}

// TestCheck_ChangedBlocks changes bytes of a file without its size and time, as a disk does.
func TestCheck_ChangedBlocks(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(data []byte){
		"flipped bit in the first message":  func(data []byte) { data[60] ^= 4 },
		"flipped bit in the middle":         func(data []byte) { data[len(data)/2] ^= 1 },
		"flipped bit in the last checksum":  func(data []byte) { data[len(data)-1] ^= 128 },
		"zeroed page":                       func(data []byte) { clear(data[8192 : 8192+4096]) },
		"a message in the place of another": func(data []byte) { copy(data[len(data)/2:], data[:len(data)/4]) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newStoreFixture(t)
			f.restart(func(block string) {
				info, err := os.Stat(block)
				f.must(err)
				data, err := os.ReadFile(block)
				f.must(err)
				change(data)
				f.must(os.WriteFile(block, data, 0o600))
				f.must(os.Chtimes(block, time.Time{}, info.ModTime()))
			})
			guard, err := integrity.Check(t.Context(), f.Options)
			f.must(err)
			if len(guard.Restored()) != 1 || !strings.HasPrefix(guard.Restored()[0], "KV_collected: ") || !guard.NeedsVerify() {
				t.Errorf("restored %q, to be compared with the ledger: %t", guard.Restored(), guard.NeedsVerify())
			}
		})
	}
}

// TestManifest_HasEveryStream: a new stream needs a kind too.
func TestManifest_HasEveryStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, err := f.open()
	f.must(err)
	manifest, err := os.ReadFile(filepath.Join(f.Dir, "manifest.json"))
	f.must(err)
	defined, err := streams.Streams()
	f.must(err)
	for _, stream := range defined {
		if !strings.Contains(string(manifest), `"`+stream.Name+`"`) {
			t.Errorf("%s is not in the manifest", stream.Name)
		}
	}
}
