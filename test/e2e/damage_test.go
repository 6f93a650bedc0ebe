//go:build soak

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"
)

// damageLimit is how long a command may take on a damaged store: what is promised is 15 s, on a machine of its own.
const damageLimit = 45 * time.Second

// stores are what the damages are made of: each is a place as it was left.
type stores struct {
	sim simulator
	// finished and unfinished are places of one batch, earlier is finished's data when it was half through, other another store.
	finished, unfinished, earlier, other string
	run                                  contract.RunID
	args                                 []string
	// life is what explain says of a number of the finished store.
	life string
}

const (
	damageNumbers = 120
	explained     = "IMM-7-25"
)

// prepareStores makes the stores: a batch in two parts, a batch that was killed, and one of another year.
func prepareStores(t *testing.T) stores {
	t.Helper()
	sim := startSim(t, "--seed", "3", "--max", "400", "--missing", "0.1", "--latency", "5ms")
	dir := t.TempDir()
	s := stores{sim: sim, finished: dir + "/finished", unfinished: dir + "/unfinished", earlier: dir + "/earlier", other: dir + "/other"}
	s.args = []string{
		"--site", "fct-cf", "--base-url", sim.url, "--probe=false", "--robots=false", "--delay-min", "0", "--delay-max", "0",
		"--concurrency", "4", "--log-level", "warn", "--output", "output", "--data-dir", "data",
	}
	one := s.command(t, s.finished, "batch", "2025", "--end", fmt.Sprint(damageNumbers/2))
	if one.code != 0 {
		t.Fatalf("the first part: %d: %s", one.code, one.text)
	}
	copyTree(t, s.finished, s.earlier)
	two := s.command(t, s.finished, "batch", "2025", "--end", fmt.Sprint(damageNumbers))
	s.run = contract.RunID(two.word("run"))
	if two.code != 0 || s.run == "" {
		t.Fatalf("the second part: %d: %s", two.code, two.text)
	}
	life := s.command(t, s.finished, "explain", explained)
	if s.life = life.text; life.code != 0 || s.life == "" {
		t.Fatalf("explain: %d: %s", life.code, life.text)
	}
	if three := s.command(t, s.other, "batch", "2024", "--end", "200"); three.code != 0 {
		t.Fatalf("the other store: %d: %s", three.code, three.text)
	}
	s.kill(t)
	return s
}

// kill begins a batch and kills its process in the middle.
func (s *stores) kill(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(s.unfinished, 0o750); err != nil {
		t.Fatal(err)
	}
	before := s.sim.stats().Requests
	cmd := exec.Command("fct-scraper", append([]string{"batch", "2025", "--start", "201", "--end", fmt.Sprint(200 + damageNumbers)}, s.args...)...)
	cmd.Args = append(cmd.Args, "--delay-min", "25ms", "--delay-max", "25ms") // the manifest is written each second
	cmd.Dir = s.unfinished
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for s.sim.stats().Requests < before+damageNumbers/2 {
		time.Sleep(5 * time.Millisecond) // the condition is another process's
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed

	// A socket cannot be copied.
	if err := os.Remove(s.unfinished + "/data/fct-scraper.sock"); err != nil {
		t.Fatal(err)
	}
}

// outcome is how a command ended.
type commandOutcome struct {
	code     int
	seconds  float64
	requests int
	text     string
}

// word is what the summary says of a name.
func (o commandOutcome) word(name string) string {
	for line := range strings.Lines(o.text) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			return fields[1]
		}
	}
	return ""
}

// command runs the program in a folder; a code of -1 is a hang.
func (s *stores) command(t *testing.T, dir string, args ...string) commandOutcome {
	t.Helper()
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), damageLimit)
	defer cancel()
	all := slices.Concat(args, s.args)
	if args[0] != "batch" {
		all = slices.Concat(args, []string{"--log-level", "warn", "--data-dir", "data", "--output", "output"})
	}
	cmd := exec.CommandContext(ctx, "fct-scraper", all...)
	var text bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &text, &text
	before, began := s.sim.stats().Requests, time.Now()
	_ = cmd.Run() // its exit code says it
	o := commandOutcome{code: cmd.ProcessState.ExitCode(), seconds: time.Since(began).Seconds(), text: text.String()}
	o.requests = s.sim.stats().Requests - before
	return o
}

// damage is one way to spoil the folder of one stream.
type damage struct {
	name string
	do   func(s *stores, data, stream string) error
}

func streamFolder(data, stream string) string {
	return filepath.Join(data, "jetstream", "$G", "streams", stream)
}

// onBlock spoils the largest block of a stream; a stream without messages has none.
func onBlock(spoil func(name string, data []byte) error) func(*stores, string, string) error {
	return func(_ *stores, data, stream string) error {
		names, err := filepath.Glob(filepath.Join(streamFolder(data, stream), "msgs", "*.blk"))
		if err != nil || len(names) == 0 {
			return err
		}
		largest, content := "", []byte(nil)
		for _, name := range names {
			read, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if len(read) >= len(content) {
				largest, content = name, read
			}
		}
		return spoil(largest, content)
	}
}

// replaced puts another folder in the place of a stream's.
func folderReplaced(from func(s *stores, data, stream string) string) func(*stores, string, string) error {
	return func(s *stores, data, stream string) error {
		to, source := streamFolder(data, stream), from(s, data, stream)
		kept := to + ".kept"
		if err := os.CopyFS(kept, os.DirFS(source)); err != nil {
			return err
		}
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		return os.Rename(kept, to)
	}
}

// damages are the kinds of damage.
func damages() []damage {
	write := func(name string, data []byte) error { return os.WriteFile(name, data, 0o640) }
	return []damage{
		{"zeroed page", onBlock(func(name string, data []byte) error {
			from := len(data) / 3
			clear(data[from:min(len(data), from+4096)])
			return write(name, data)
		})},
		{"flipped bit", onBlock(func(name string, data []byte) error {
			if len(data) > 0 {
				data[len(data)/2] ^= 4
			}
			return write(name, data)
		})},
		{"truncated block", onBlock(func(name string, data []byte) error { return write(name, data[:len(data)/2]) })},
		{"emptied block", onBlock(func(name string, _ []byte) error { return write(name, nil) })},
		{"removed block", onBlock(func(name string, _ []byte) error { return os.Remove(name) })},
		{"garbage block", onBlock(func(name string, data []byte) error { return write(name, bytes.Repeat([]byte("?"), len(data))) })},
		{"removed folder", func(_ *stores, data, stream string) error { return os.RemoveAll(streamFolder(data, stream)) }},
		{"removed index", func(_ *stores, data, stream string) error {
			return os.RemoveAll(filepath.Join(streamFolder(data, stream), "msgs", "index.db"))
		}},
		{"removed messages", func(_ *stores, data, stream string) error {
			return os.RemoveAll(filepath.Join(streamFolder(data, stream), "msgs"))
		}},
		{"stale copy", folderReplaced(func(s *stores, _, stream string) string { return streamFolder(s.earlier+"/data", stream) })},
		{"another stream", folderReplaced(func(_ *stores, data, _ string) string { return streamFolder(data, contract.StreamEvents) })},
		{"another store", folderReplaced(func(s *stores, _, stream string) string { return streamFolder(s.other+"/data", stream) })},
		{"garbage meta", func(_ *stores, data, stream string) error {
			return write(filepath.Join(streamFolder(data, stream), "meta.inf"), []byte("?"))
		}},
		{"file for folder", func(_ *stores, data, stream string) error {
			if err := os.RemoveAll(streamFolder(data, stream)); err != nil {
				return err
			}
			return write(streamFolder(data, stream), []byte("?"))
		}},
	}
}

// try spoils a copy of a store, runs a command on it and says what is wrong with how that ended.
func (s *stores) try(t *testing.T, d damage, stream, situation string) (o commandOutcome, wrong string) {
	t.Helper()
	dir, source, args := t.TempDir(), s.finished, []string{"batch", "2025", "--end", fmt.Sprint(damageNumbers)}
	switch situation {
	case "unfinished":
		source, args = s.unfinished, []string{"batch", "2025", "--start", "201", "--end", fmt.Sprint(200 + damageNumbers)}
	case "report":
		args = []string{"report", "--run", string(s.run)}
	case "status":
		args = []string{"status", "--run", string(s.run)}
	case "explain":
		args = []string{"explain", explained}
	}
	copyTree(t, source, dir)
	if err := d.do(s, dir+"/data", stream); err != nil {
		t.Fatal(err)
	}
	before := filesUnder(t, dir+"/output")
	known := filesOfStore(t, dir+"/data")
	o = s.command(t, dir, args...)
	after := filesUnder(t, dir+"/output")
	// 2C cases may be asked again after a kill; a no-record takes two requests.
	most := map[string]int{"unfinished": damageNumbers/2 + damageNumbers/6 + 4*8}[situation]
	switch {
	case o.code == -1:
		return o, "hangs"
	case !slices.Contains([]int{0, codeBroker, codeOutput}, o.code):
		return o, fmt.Sprintf("exit code %d", o.code)
	case o.code != 0 && o.requests > 0:
		return o, fmt.Sprintf("%d requests and exit code %d", o.requests, o.code)
	case o.requests > most:
		return o, fmt.Sprintf("%d requests, want at most %d", o.requests, most)
	case o.code != 0 && !strings.Contains(o.text, stream) && !strings.Contains(o.text, "store"):
		return o, "the message does not name the stream"
	case situation == "explain" && o.code == 0 && !strings.Contains(o.text, s.life):
		return o, "another life than before"
	case situation == "explain" && !maps.Equal(known, filesOfStore(t, dir+"/data")):
		return o, "what is known of the store was written"
	}
	for name, content := range before {
		if grows := strings.HasPrefix(name, "attempts_") && situation == "unfinished"; strings.HasPrefix(name, ".fct") || grows && len(after[name]) >= len(content) || after[name] == content {
			continue
		}
		if situation == "unfinished" && o.code == 0 {
			continue // the run goes on, or is counted anew
		}
		return o, "changed " + name
	}
	if situation == "unfinished" && o.code == 0 {
		for n := 201; n <= 200+damageNumbers; n++ {
			if !bytes.Contains([]byte(joined(after)), []byte(fmt.Sprintf("\"IMM-%d-25\"", n))) {
				return o, fmt.Sprintf("number %d is in no attempts file", n)
			}
		}
	}
	return o, ""
}

// joined are the contents of all attempts files.
func joined(files map[string]string) string {
	var all strings.Builder
	for name, content := range files {
		if strings.HasPrefix(name, "attempts_") {
			all.WriteString(content)
		}
	}
	return all.String()
}

// filesOfStore are the contents of the files beside a store that say what it held.
func filesOfStore(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"manifest.json", "keys.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
	}
	return files
}

// filesUnder are the contents of all files of a folder.
func filesUnder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, dir+"/")] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// copyTree copies a folder and all below it.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// tryAll tries damages and returns the table of how each ended.
func tryAll(t *testing.T, s stores, chosen []damage, streams, situations []string) string {
	t.Helper()
	var table strings.Builder
	fmt.Fprintf(&table, "%-16s %-13s %-11s %4s %7s %8s  %s\n", "damage", "stream", "situation", "exit", "seconds", "requests", "says")
	for _, d := range chosen {
		for _, stream := range streams {
			for _, situation := range situations {
				t.Run(d.name+"/"+stream+"/"+situation, func(t *testing.T) {
					o, wrong := s.try(t, d, stream, situation)
					if wrong != "" {
						t.Errorf("%s: %s", wrong, o.text)
					}
					fmt.Fprintf(&table, "%-16s %-13s %-11s %4d %7.2f %8d  %s\n", d.name, stream, situation, o.code, o.seconds, o.requests, said(o.text, wrong))
				})
			}
		}
	}
	return table.String()
}

// said is the last line that says what was found.
func said(text, wrong string) string {
	if wrong != "" {
		return "WRONG: " + wrong
	}
	last := ""
	for line := range strings.Lines(text) {
		line, found := strings.CutPrefix(strings.TrimSpace(line), "store ")
		if line = strings.TrimSpace(line); found && line != "data" || strings.HasPrefix(line, "fct-scraper:") {
			last = fmt.Sprintf("%.160s", line)
		}
	}
	if last != "" {
		return last
	}
	if strings.Contains(text, "store.rebuilt") {
		return "rebuilt"
	}
	return ""
}

func TestDamage_RebuiltOrRefused(t *testing.T) {
	t.Parallel()
	s := prepareStores(t)
	chosen := slices.DeleteFunc(damages(), func(d damage) bool {
		return !slices.Contains([]string{"zeroed page", "removed folder", "stale copy"}, d.name)
	})
	streams := []string{contract.StreamOutcomes, contract.StreamJobs, "KV_" + contract.BucketRuns, "KV_" + contract.BucketCollected}
	t.Log("\n" + tryAll(t, s, chosen, streams, []string{"finished", "unfinished", "report", "explain"}))
}

// TestDamage_Table tries all kinds of damage on all streams; DAMAGE_TABLE names a file for the table.
func TestDamage_Table(t *testing.T) {
	fcttest.SkipIfShort(t)
	table := tryAll(t, prepareStores(t), damages(), damagedStreams(), situations())
	if name := os.Getenv("DAMAGE_TABLE"); name != "" {
		if err := os.WriteFile(name, []byte(table), 0o644); err != nil {
			t.Error(err)
		}
	}
	t.Log("\n" + table)
}

// damagedStreams are the streams and buckets that are spoiled.
func damagedStreams() []string {
	return []string{
		contract.StreamBatch, contract.StreamJobs, contract.StreamAnswers, contract.StreamOutcomes,
		"KV_" + contract.BucketRuns, "KV_" + contract.BucketCollected, "KV_" + contract.BucketFailed, "KV_" + contract.BucketSites,
	}
}

// situations are what is done on a damaged store.
func situations() []string { return []string{"finished", "unfinished", "report", "status", "explain"} }
