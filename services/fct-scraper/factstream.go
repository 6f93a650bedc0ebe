package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/export"
	"fct-scraper/pkg/facts"
	"fct-scraper/pkg/ordered"
	"fct-scraper/services/fct-scraper/runtime"
)

const (
	// maxRecordSize is the largest record that is read, in bytes: the largest message of a NATS server.
	maxRecordSize = 64 << 20
	// A batch of records is handed to a worker: enough to make the hand-over cheap, and few enough
	// to keep memory low.
	batchRecords, batchBytes = 64, 1 << 20
)

// byteOrderMark may precede a text in UTF-8.
const byteOrderMark = "\ufeff"

// recordSource is where records come from, in order.
type recordSource struct {
	stdin io.Reader
	paths []string
	// each yields the records of another place, in place of paths.
	each func(yield func(sourceItem, error) bool)
}

// sourceItem is one record: its JSON, or the file that has it.
type sourceItem struct {
	// name says where the record is, for errors.
	name string
	// data is the JSON; nil if the file name has it.
	data []byte
	// stored is the case of a record of the store.
	stored contract.CaseID
}

// read returns the JSON of the record.
func (i sourceItem) read() ([]byte, error) {
	if i.data != nil {
		return i.data, nil
	}
	info, err := os.Stat(i.name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxRecordSize {
		return nil, fmt.Errorf("%w: allowed is a regular file of at most %d bytes", facts.ErrRecord, maxRecordSize)
	}
	data, err := os.ReadFile(i.name)
	return bytes.TrimPrefix(data, []byte(byteOrderMark)), err
}

// items returns all records. An error ends them, and so does the end of ctx.
func (s recordSource) items(ctx context.Context) iter.Seq2[sourceItem, error] {
	if s.each != nil {
		return s.each
	}
	return func(yield func(sourceItem, error) bool) {
		for _, path := range s.paths {
			if !s.place(ctx, path, yield) {
				return
			}
		}
	}
}

// place yields the records of one argument. It returns false if no more are wanted.
func (s recordSource) place(ctx context.Context, path string, yield func(sourceItem, error) bool) bool {
	if path == "-" {
		stdin, release := readUntil(ctx, s.stdin)
		defer release()
		return lines("stdin", stdin, yield)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return yield(sourceItem{}, runtime.Usagef("reading records: %w", err))
	case info.IsDir():
		found, wanted := 0, true
		walk(path, &found, &wanted, yield)
		if wanted && found == 0 {
			return yield(sourceItem{},
				runtime.Usagef("folder %.200q holds no record: allowed are files such as IMM-231-25.json", path))
		}
		return wanted
	case slices.Contains([]string{".ndjson", ".jsonl"}, filepath.Ext(path)):
		if !info.Mode().IsRegular() {
			return yield(sourceItem{}, runtime.Usagef("%s: allowed is a regular file, a folder or - for stdin", path))
		}
		f, err := os.Open(path)
		if err != nil {
			return yield(sourceItem{}, runtime.Usagef("reading records: %w", err))
		}
		defer func() { _ = f.Close() }() // only read
		return lines(path, f, yield)
	}
	return yield(sourceItem{name: path}, nil)
}

// readUntil returns a reader of r that fails with the cause of ctx when ctx ends, also while a read of r
// waits, such as for a terminal. That read goes on until the process ends.
func readUntil(ctx context.Context, r io.Reader) (_ io.Reader, release func()) {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // returns no error
	}()
	stop := context.AfterFunc(ctx, func() { _ = out.CloseWithError(context.Cause(ctx)) })
	return out, func() {
		stop()
		_ = out.Close() // returns no error
	}
}

// walk yields the files below a folder that are named after a case: by series, year and number.
func walk(folder string, found *int, wanted *bool, yield func(sourceItem, error) bool) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		*wanted = yield(sourceItem{}, runtime.Usagef("reading records: %w", err))
		return
	}
	type numbered struct {
		id   contract.CaseID
		name string
	}
	var files []numbered
	for _, e := range entries {
		if id, err := contract.ParseCaseID(strings.TrimSuffix(e.Name(), ".json")); err == nil && !e.IsDir() &&
			filepath.Ext(e.Name()) == ".json" {
			files = append(files, numbered{id, e.Name()})
		}
	}
	slices.SortFunc(files, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.id.Series, b.id.Series),
			cmp.Compare(contract.FullYear(a.id.Year), contract.FullYear(b.id.Year)),
			cmp.Compare(a.id.Number, b.id.Number))
	})
	for _, file := range files {
		*found++
		if *wanted = yield(sourceItem{name: filepath.Join(folder, file.name)}, nil); !*wanted {
			return
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		return cmp.Or(cmp.Compare(contract.FullYear(a.Name()), contract.FullYear(b.Name())),
			cmp.Compare(a.Name(), b.Name()))
	})
	for _, e := range entries {
		if *wanted && e.IsDir() {
			walk(filepath.Join(folder, e.Name()), found, wanted, yield)
		}
	}
}

// lines yields the records of a stream, one a line. Empty lines and a byte order mark are left out.
func lines(name string, r io.Reader, yield func(sourceItem, error) bool) bool {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 1<<16), maxRecordSize)
	scanner.Split(splitLines())
	n := 0
	for scanner.Scan() {
		n++
		line := bytes.TrimSpace(scanner.Bytes())
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		if len(line) > 0 && !yield(sourceItem{name: fmt.Sprintf("%s line %d", name, n), data: bytes.Clone(line)}, nil) {
			return false
		}
	}
	if err := scanner.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("%w: longer than the %d bytes that are allowed", facts.ErrRecord, maxRecordSize)
		}
		return yield(sourceItem{}, runtime.Usagef("%s line %d: %w", name, n+1, err))
	}
	return true
}

// splitLines returns bufio.ScanLines for one Scanner. It searches for the end of a line only in what is new: a pipe
// gives a long line in many small parts.
func splitLines() bufio.SplitFunc {
	searched := 0
	return func(data []byte, atEOF bool) (advance int, line []byte, err error) {
		if !atEOF && bytes.IndexByte(data[searched:], '\n') < 0 {
			searched = len(data)
			return 0, nil, nil
		}
		searched = 0
		return bufio.ScanLines(data, atEOF)
	}
}

// factFormat appends the facts of one record to a buffer.
type factFormat func(buffer []byte, reader *facts.Reader, data []byte) ([]byte, error)

// factLines appends one JSON line.
func factLines(buffer []byte, reader *facts.Reader, data []byte) ([]byte, error) {
	record, err := facts.Decode(data)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(reader.Of(record))
	if err != nil {
		return nil, fmt.Errorf("writing facts: %w", err)
	}
	return append(append(buffer, line...), '\n'), nil
}

// recordBatch is some records in order. err is that of the source after them.
type recordBatch struct {
	items []sourceItem
	err   error
}

// factBatch is what was derived from some records, up to an error.
type factBatch struct {
	output []byte
	err    error
}

// deriveFacts writes the facts of all records in their order. Workers derive them, one for each
// processor. At an error it writes what comes before, and returns the error with the place of the
// record.
func deriveFacts(
	ctx context.Context, rules *facts.Rules, source recordSource, format factFormat, write func([]byte) error,
) error {
	produce := func(ctx context.Context, pass func(recordBatch) error) error { return readBatches(ctx, source, pass) }
	newWorker := func() func(recordBatch) factBatch {
		reader := rules.NewReader()
		return func(b recordBatch) factBatch { return b.derive(reader, format) }
	}
	return ordered.Map(ctx, produce, newWorker, func(b factBatch) error {
		if err := write(b.output); err != nil {
			return err
		}
		return b.err
	})
}

// readBatches passes on all records of a source in batches. An error of the source is that of a last
// batch, so that the records before it are written.
func readBatches(ctx context.Context, source recordSource, pass func(recordBatch) error) error {
	b, size := recordBatch{}, 0
	for item, err := range source.items(ctx) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.err = err
			break
		}
		b.items = append(b.items, item)
		if size += len(item.data); len(b.items) == batchRecords || size >= batchBytes {
			if err := pass(b); err != nil {
				return err
			}
			b, size = recordBatch{}, 0
		}
	}
	return pass(b)
}

// derive returns the output of a batch.
func (b recordBatch) derive(reader *facts.Reader, format factFormat) (derived factBatch) {
	for _, item := range b.items {
		data, err := item.read()
		if err == nil {
			var output []byte
			if output, err = format(derived.output, reader, data); err == nil {
				derived.output = output
				continue
			}
		}
		if item.stored != (contract.CaseID{}) && errors.Is(err, facts.ErrRecord) {
			derived.err = export.UnreadableRecord(item.stored, err)
			return derived
		}
		if _, unreadable := errors.AsType[*fs.PathError](err); unreadable || errors.Is(err, facts.ErrRecord) {
			err = runtime.Usagef("%w", err)
		}
		derived.err = fmt.Errorf("%s: %w", item.name, err)
		return derived
	}
	derived.err = b.err
	return derived
}
