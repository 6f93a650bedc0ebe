package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad_OutputOutsideDataDir(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("data", 0o750); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"inside": filepath.Join("data", "files"), "same": "data", "here": "."} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join("data", "files"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		output, data string
		apart        bool
	}{
		{"output", "data", true},
		{".", "data", true},
		{"output", "output/data", true},
		{"data-files", "data", true},
		{"missing/data", "data", true},
		{"data", "data", false},
		{"data/", "./data", false},
		{"data/output", "data", false},
		{"x/../data/output", "data", false},
		{"missing/output", "missing", false},
		{"missing", "missing", false},
		{"output", ".", false},
		{"inside", "data", false},
		{"same/output", "data", false},
		{"data/output", "same", false},
		{"here/missing/output", filepath.Join(dir, "missing"), false},
	} {
		_, err := load(t, "", nil, map[string]string{"output": c.output, "data_dir": c.data})
		if c.apart != (err == nil) {
			t.Errorf("output %s, data_dir %s: %v", c.output, c.data, err)
		}
		if err == nil {
			continue
		}
		list := problems(t, err)
		if len(list) != 1 || !strings.HasPrefix(list[0], `--output: output = "`+c.output+`": want output = `) || !strings.Contains(list[0], `data_dir = "`+c.data+`"`) {
			t.Errorf("%q", list)
		}
		// A server of others has its store elsewhere.
		if _, err := load(t, "", nil, map[string]string{"output": c.output, "data_dir": c.data, "nats_url": "nats://127.0.0.1"}); err != nil {
			t.Error(err)
		}
	}
	_, err := load(t, "", nil, map[string]string{"data_dir": "."})
	if list := problems(t, err); len(list) != 1 || !strings.HasPrefix(list[0], `--data-dir: data_dir = ".": want output = "output" outside of`) {
		t.Errorf("%q", list)
	}
}
