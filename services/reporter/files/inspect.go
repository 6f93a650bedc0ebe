package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/ledger"
	"fct-scraper/pkg/store"
	"fct-scraper/services/reporter/fold"
)

// Inspection compares the files of a run with what its ledger derives, message by message: records
// and raw answers by size, the attempts file line by line. Its methods do nothing on nil.
type Inspection struct {
	output   *store.Store
	manifest contract.Manifest
	tally    fold.Tally
	// sizes caches the file sizes of each folder.
	sizes map[string]map[string]int64
	// WrongFiles are the files that are missing or have another size.
	WrongFiles map[string]bool
	lines      attemptsReader
	// Failed are the numbers that failed.
	Failed []contract.CrawlResult
}

// attemptsReader reads the attempts file in step with the ledger, until a line is wrong.
type attemptsReader struct {
	file   io.Closer
	reader *bufio.Reader
	wrong  bool
}

// Inspect starts an inspection of the files of a run. The caller must call End.
func Inspect(output *store.Store, manifest contract.Manifest) *Inspection {
	i := &Inspection{output: output, manifest: manifest, sizes: map[string]map[string]int64{},
		WrongFiles: map[string]bool{}}
	file, err := output.Reader(AttemptsName(manifest.RunID))
	if err != nil { // missing or unreadable: rewriting it reports the cause
		i.lines.wrong = true
		return i
	}
	i.lines.file, i.lines.reader = file, bufio.NewReader(file)
	return i
}

// Read inspects the files that are derived from a message. collected shows which records belong to
// other runs by now.
func (i *Inspection) Read(m ledger.Message, collected map[int]contract.Collected) error {
	if i == nil {
		return nil
	}
	fresh := i.tally.AddMessage(m, i.manifest.SafeStopFails)
	i.Failed = append(i.Failed, Failures(i.manifest, fresh)...)
	d, err := Derive(i.manifest, fresh, func(id contract.CaseID) bool {
		return OwnsRecord(collected, id, i.manifest.RunID)
	})
	if err != nil {
		return err
	}
	for _, file := range d.Files {
		right, err := i.has(file)
		if err != nil {
			return err
		}
		if right { // a raw answer may have replaced an earlier one of another size
			delete(i.WrongFiles, file.Name)
		} else {
			i.WrongFiles[file.Name] = true
		}
	}
	return i.lines.compare(d.Lines)
}

// has reports whether a regular file of that name and size exists.
func (i *Inspection) has(file store.File) (bool, error) {
	folder := path.Dir(file.Name)
	if i.sizes[folder] == nil {
		var err error
		if i.sizes[folder], err = i.output.Sizes(folder); err != nil {
			return false, err
		}
	}
	size, found := i.sizes[folder][path.Base(file.Name)]
	return found && size == int64(len(file.Data)), nil
}

// compare reads as many lines as the ledger derives next, and compares them.
func (r *attemptsReader) compare(lines []byte) error {
	for line := range bytes.Lines(lines) {
		if r.wrong {
			return nil
		}
		got, err := r.reader.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return attemptsReadError(err)
		}
		r.wrong = !sameLine(got, line)
	}
	return nil
}

// End closes the attempts file. The file is wrong if it has further lines.
func (i *Inspection) End() error {
	if i == nil || i.lines.file == nil {
		return nil
	}
	if !i.lines.wrong {
		_, err := i.lines.reader.ReadByte()
		if err != nil && !errors.Is(err, io.EOF) {
			return attemptsReadError(err)
		}
		i.lines.wrong = err == nil
	}
	return i.lines.file.Close()
}

func attemptsReadError(err error) error {
	return fmt.Errorf("%w: reading the attempts file: %w", store.ErrNotWritable, err)
}

// sameLine compares two lines of an attempts file. They may name different copies of the raw
// answer: a resumed run can have another persist_raw_html than before.
func sameLine(got, want []byte) bool {
	if bytes.Equal(got, want) {
		return true
	}
	var a, b contract.AttemptLine
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil {
		return false
	}
	a.HTMLPath, b.HTMLPath = "", ""
	one, errOne := json.Marshal(a)
	two, errTwo := json.Marshal(b)
	return errOne == nil && errTwo == nil && bytes.Equal(one, two) && bytes.HasSuffix(got, []byte("\n"))
}

// LinesWrong reports whether the attempts file is missing or wrong.
func (i *Inspection) LinesWrong() bool { return i.lines.wrong }

// FirstWrong returns the name of a file that is missing or wrong; empty when there is none.
func (i *Inspection) FirstWrong() string {
	if i.lines.wrong {
		return AttemptsName(i.manifest.RunID)
	}
	for _, name := range slices.Sorted(maps.Keys(i.WrongFiles)) {
		return name
	}
	return ""
}
