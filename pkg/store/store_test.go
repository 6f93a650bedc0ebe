package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// readTree is every file below dir with its content.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		short, _ := filepath.Rel(dir, name)
		files[filepath.ToSlash(short)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestWrite_ReplacesFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	s := openStore(t, dir)
	for _, text := range []string{"first and longer", "second"} {
		if err := s.Write("cases/IMM/25/IMM-1-25.json", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]string{"cases/IMM/25/IMM-1-25.json": "second"}, readTree(t, dir)); diff != "" {
		t.Error(diff)
	}
	data, err := s.Read("cases/IMM/25/IMM-1-25.json")
	if err != nil || string(data) != "second" {
		t.Errorf("read %q, %v", data, err)
	}
}

// A folder that is moved between two steps of a write is created again, with the file in it.
func TestWriteAll_FolderMoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	way, moved := s.sync, false
	s.sync = func(root *os.Root, temps []temp) error {
		if err := way(root, temps); err != nil || moved {
			return err
		}
		moved = true
		return os.Rename(filepath.Join(dir, "cases"), filepath.Join(dir, "away"))
	}
	if err := s.WriteAll([]File{{Name: "cases/IMM/25/a.json", Data: []byte("a")}}); err != nil || !moved {
		t.Fatalf("%v; moved %v", err, moved)
	}
	if data, err := s.Read("cases/IMM/25/a.json"); string(data) != "a" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriteAll_EachWayOfSyncing(t *testing.T) {
	for name, way := range map[string]func(*os.Root, []temp) error{"batch": syncBatch, "each": syncEach} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openStore(t, dir)
			s.sync = way
			want := map[string]string{}
			var files []File
			for i := range 2*batchSize + 3 {
				name, text := fmt.Sprintf("d%d/f%d", i%5, i), strings.Repeat("x", i)
				want[name] = text
				files = append(files, File{Name: name, Data: []byte(text)})
			}
			if err := s.WriteAll(files); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, readTree(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWriteAll_FailedSync(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if err := s.Write("a", []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk on fire")
	s.sync = func(*os.Root, []temp) error { return broken }
	err := s.WriteAll([]File{{"a", []byte("new")}, {"b", []byte("new")}})
	if !errors.Is(err, ErrNotWritable) || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := s.Create("c", nil); !errors.Is(err, ErrNotWritable) {
		t.Errorf("create: got %v", err)
	}
	if diff := cmp.Diff(map[string]string{"a": "old"}, readTree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestWriteFrom_LargeFile(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	big := bytes.Repeat([]byte("line\n"), 50_000)
	if err := s.WriteFrom("big", func(w io.Writer) error { _, err := w.Write(big); return err }); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("no more")
	err := s.WriteFrom("half", func(w io.Writer) error { _, _ = w.Write(big); return stop })
	if !errors.Is(err, stop) || errors.Is(err, ErrNotWritable) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(map[string]string{"big": string(big)}, readTree(t, dir)); diff != "" {
		t.Error("more or less than the one whole file is there")
	}
}

func TestCreate_Concurrent(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	errs := make([]error, 8)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = s.Create("reports/r.json", fmt.Append(nil, i)) })
	}
	all.Wait()
	winner := slices.Index(errs, nil)
	for i, err := range errs {
		if i != winner && (!errors.Is(err, fs.ErrExist) || errors.Is(err, ErrNotWritable)) {
			t.Errorf("%d: got %v", i, err)
		}
	}
	if diff := cmp.Diff(map[string]string{"reports/r.json": fmt.Sprint(winner)}, readTree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestStore_RefusesNamesOutside(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "cases")); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir)
	for _, name := range []string{"../x", "/x", "a/../../x", "", ".", "cases/x", "a//b"} {
		if err := s.Write(name, []byte("x")); !errors.Is(err, ErrNotWritable) {
			t.Errorf("write %q: got %v", name, err)
		}
	}
	if _, err := s.Appender("cases/x"); !errors.Is(err, ErrNotWritable) {
		t.Errorf("appender: got %v", err)
	}
	if diff := cmp.Diff(map[string]string{}, readTree(t, outside)); diff != "" {
		t.Error(diff)
	}
}

func TestOpen_LeftoversOfOtherProcess(t *testing.T) {
	dir := t.TempDir()
	first := openStore(t, dir)
	if err := first.Write("cases/a", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "cases", tempPrefix+"0123456789abcdef")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := openStore(t, dir)
	if _, err := os.Stat(left); err != nil {
		t.Errorf("a file under the hands of another was removed: %v", err)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir)
	if diff := cmp.Diff(map[string]string{"cases/a": "kept"}, readTree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestOpen_NotAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); !errors.Is(err, ErrNotWritable) {
		t.Errorf("got %v", err)
	}
}

func TestRead_MissingFile(t *testing.T) {
	s := openStore(t, t.TempDir())
	if _, err := s.Read("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: got %v", err)
	}
	if _, err := s.Reader("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reader: got %v", err)
	}
}

func TestWithFence_RefusesRename(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	lost := errors.New("lost")
	var asked int
	guarded := s.WithFence(func() error {
		if asked++; asked > 1 {
			return lost
		}
		return nil
	})
	if err := guarded.WriteAll([]File{{Name: "a/1", Data: []byte("1")}, {Name: "a/2", Data: []byte("2")}}); !errors.Is(err, lost) || errors.Is(err, ErrNotWritable) {
		t.Errorf("%v, want %v", err, lost)
	}
	if err := guarded.Create("b", nil); !errors.Is(err, lost) {
		t.Errorf("%v, want %v", err, lost)
	}
	if diff := cmp.Diff(map[string]string{"a/1": "1"}, readTree(t, dir)); diff != "" {
		t.Error(diff)
	}
	if err := s.Write("a/2", nil); err != nil {
		t.Error("the folder itself is open to all:", err)
	}
}

// TestStore_FolderMoved: a reader would not find what is written into a moved folder.
func TestStore_FolderMoved(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(dir string) error{
		"nothing":        func(string) error { return nil },
		"another folder": func(dir string) error { return os.Mkdir(dir, 0o750) },
		"a file":         func(dir string) error { return os.WriteFile(dir, nil, 0o600) },
		"a link":         func(dir string) error { return os.Symlink(filepath.Dir(dir), dir) },
	} {
		dir := filepath.Join(t.TempDir(), "output")
		s := openStore(t, dir)
		lines, err := s.Appender("lines")
		if err := errors.Join(err, s.Write("a", []byte("old")), s.Check(), os.Rename(dir, dir+"-away"), put(dir)); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"check": s.Check(), "write": s.Write("a", nil), "create": s.Create("b", nil), "remove": s.Remove("a"), "append": lines.Append([]byte("x")),
			"from": s.WriteFrom("c", func(io.Writer) error { return nil }),
		} {
			if !errors.Is(err, ErrNotWritable) || !strings.Contains(err.Error(), dir+`"`) {
				t.Errorf("%s in its place, %s: got %v", name, what, err)
			}
		}
		if _, err := s.Appender("more"); !errors.Is(err, ErrNotWritable) {
			t.Errorf("%s in its place, appender: got %v", name, err)
		}
		if diff := cmp.Diff(map[string]string{"a": "old", "lines": ""}, readTree(t, dir+"-away")); diff != "" {
			t.Error(diff)
		}
		if err := lines.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSizesAndRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	err := errors.Join(s.WriteAll([]File{{"d/a", []byte("four")}, {"d/b", nil}, {"d/deep/c", nil}}), os.Symlink("b", filepath.Join(dir, "d", "link")))
	if err != nil {
		t.Fatal(err)
	}
	sizes := s.Sizes()
	for name, want := range map[string]int64{"d/a": 4, "d/b": 0, "d/deep/c": 0, "d/link": -1, "d/deep": -1, "d/x": -1,
		"none/x": -1} {
		size, found, err := sizes.Of(name)
		if found != (want >= 0) || found && size != want || err != nil {
			t.Errorf("%s: %d, %t, %v; want %d", name, size, found, err, want)
		}
	}
	if _, _, err := sizes.Of("d/a/x"); !errors.Is(err, ErrNotWritable) {
		t.Errorf("a file: got %v", err)
	}
	if err := sizes.Close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.Remove("d/a"), s.Remove("d/a"), s.Remove("none/x")); err != nil {
		t.Error(err)
	}
	if err := s.Remove("d/deep"); !errors.Is(err, ErrNotWritable) {
		t.Errorf("a folder: got %v", err)
	}
	if diff := cmp.Diff(map[string]string{"d/b": "", "d/deep/c": "", "d/link": ""}, readTree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestStore_FileModes: only the owner may write the files, and only the group may read them.
func TestStore_FileModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "output")
	s := openStore(t, dir)
	lines, err := s.Appender("attempts.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(lines.Close(), s.Write("html_failed/run/a.html", nil), s.Create("report.json", nil),
		s.WriteAll([]File{{"cases/IMM/25/IMM-1-25.json", nil}}), s.WriteFrom("b/c", func(io.Writer) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		// The umask of this process may take away more, and never adds anything.
		if more := info.Mode().Perm() &^ 0o750; more != 0 || !entry.IsDir() && info.Mode().Perm()&0o110 != 0 || info.Mode().Perm()&0o400 == 0 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpen_LeftoversInForeignFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for folder, removed := range map[string]bool{
		".": true, "cases/IMM/25": true, "html_failed/run": true, "html/run": true, "warc": true, "documents": false, "other/cases": false,
	} {
		left := filepath.Join(dir, folder, tempPrefix+"0123456789abcdef")
		if err := os.MkdirAll(filepath.Dir(left), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if _, err := os.Stat(left); errors.Is(err, fs.ErrNotExist) != removed {
				t.Errorf("%s: %v; removed is to be %t", folder, err, removed)
			}
		}()
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFolderThatIsALinkToNowhere(t *testing.T) {
	dir := t.TempDir()
	link, loop, file := filepath.Join(dir, "link"), filepath.Join(dir, "loop"), filepath.Join(dir, "file")
	if err := errors.Join(os.Symlink("nowhere", link), os.Symlink("loop", loop), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link:                        strconv.Quote(link) + ` is a symbolic link to "nowhere", which is no folder: no such file or directory`,
		filepath.Join(link, "more"): strconv.Quote(link) + ` is a symbolic link to "nowhere", which is no folder: no such file or directory`,
		loop:                        strconv.Quote(loop) + ` is a symbolic link to "loop", which is no folder: too many levels`,
		file:                        "not a directory",
	} {
		_, err := Open(path)
		if !errors.Is(err, ErrNotWritable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ErrNotWritable and %s", path, err, want)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "nowhere"), 0o750); err != nil {
		t.Fatal(err)
	}
	s, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
