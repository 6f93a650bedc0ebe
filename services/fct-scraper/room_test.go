package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAStoreWithoutRoomEndsTheBatch: on a disk of 164 KiB a batch made some of its streams and waited for ever. A limit on
// the size of files stands for the disk, which takes root to make; nothing is asked, so no court is there.
func TestAStoreWithoutRoomEndsTheBatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `ulimit -f 300 && exec fct-scraper "$@"`, "sh", "batch", "2025", "--end", "20", "--site", "fct-cf",
		"--base-url", "http://127.0.0.1:9", "--output", filepath.Join(dir, "output"), "--data-dir", filepath.Join(dir, "data"))
	said, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != codeBroker || !strings.Contains(string(said), "data_dir needs 1024 KiB of free room") {
		t.Errorf("exit code %d, want %d: %v\n%s", code, codeBroker, err, said)
	}
	left, err := filepath.Glob(filepath.Join(dir, "data", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v, want the lock alone", left, err)
	}
}
