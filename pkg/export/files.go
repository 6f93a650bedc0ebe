package export

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/delay"
	"fct-scraper/pkg/store"

	"github.com/klauspost/compress/zstd"
)

// tableWriter writes the rows of one table to a stream.
type tableWriter interface {
	// write adds a row, with the rows of its nested tables; nil rows are unknown.
	write(row Row, nested [][]Row) error
	// close completes the table. It does not close the stream.
	close() error
}

// newTableWriter begins a table on a stream.
func (o *Options) newTableWriter(to io.Writer, t Table) (tableWriter, error) {
	switch o.Format {
	case FormatCSV:
		return newCSVWriter(to, t, o.BOM)
	case FormatParquet:
		return newParquetWriter(to, t, o.Program), nil
	}
	return &ndjsonWriter{to: to, table: t}, nil
}

// compression returns the compression that the name of a file asks for, as its extension.
func compression(name string) (string, bool) {
	extension := filepath.Ext(name)
	return extension, extension == ".gz" || extension == ".zst"
}

// files is an output of a file for each table, or of one table to stdout.
type files struct {
	*folder
	tables []*openTable
}

// openTable is a table that is being written.
type openTable struct {
	Table
	// file is nil for stdout.
	file   *store.Pending
	buffer *bufio.Writer
	// compressor is nil without compression.
	compressor io.WriteCloser
	writer     tableWriter
	rows       int
}

func openFiles(o *Options, tables []Table) (_ output, err error) {
	f := &files{}
	defer func() {
		if err != nil {
			f.abort()
		}
	}()
	if o.Out != "-" {
		if f.folder, err = openFolder(o.Out); err != nil {
			return nil, err
		}
	}
	for _, t := range tables {
		open := &openTable{Table: t}
		f.tables = append(f.tables, open)
		if err := open.begin(o, f.folder); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (t *openTable) begin(o *Options, in *folder) (err error) {
	to, name := o.Stdout, ""
	if in != nil {
		if name = in.name; name == "" {
			name = t.Name + "." + o.Format
		}
		if t.file, err = in.begin(name); err != nil {
			return err
		}
		to = t.file
	}
	t.buffer = bufio.NewWriterSize(to, 256<<10)
	to = t.buffer
	switch extension, _ := compression(name); extension {
	case ".gz":
		t.compressor = gzip.NewWriter(to)
	case ".zst":
		t.compressor, err = zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
	}
	if t.compressor != nil {
		to = t.compressor
	}
	if err == nil {
		t.writer, err = o.newTableWriter(to, t.Table)
	}
	return err
}

func (f *files) write(_ context.Context, b *bundle) error {
	for i, t := range f.tables {
		t.rows += len(b.rows[i])
		for _, row := range b.rows[i] {
			if err := t.writer.write(row, b.nested[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *files) finish(ctx context.Context, s *summary) error {
	var written []*store.Pending
	var described []resource
	for _, t := range f.tables {
		err := t.writer.close()
		if err == nil && t.compressor != nil {
			err = t.compressor.Close()
		}
		if err == nil { // else the error of the buffer would be there twice
			err = t.buffer.Flush()
		}
		if err != nil {
			return err
		}
		if t.file == nil {
			continue
		}
		if t.Name == TableParties && t.rows == 0 && f.name == "" { // no run collected parties
			t.file.Discard()
			delete(s.result.Rows, TableParties)
			continue
		}
		written = append(written, t.file)
		r, err := s.describe(t.Table, t.file)
		if err != nil {
			return err
		}
		described = append(described, r)
	}
	if f.folder == nil {
		return nil
	}
	return f.commit(ctx, s, written, described)
}

func (f *files) abort() {
	for _, t := range f.tables {
		if t.file != nil {
			t.file.Discard()
		}
		if z, is := t.compressor.(*zstd.Encoder); is {
			z.Reset(nil) // else its goroutines may stay
		}
	}
	f.close()
}

// folder is the folder of an output.
type folder struct {
	*store.Store
	path string
	// name is the name of the only file; empty if each table has its own.
	name string
	// owner is this export, claims are the names that no other one writes meanwhile.
	owner  store.Owner
	claims []func() error
}

// openFolder opens the folder of --out, which it creates.
func openFolder(out string) (*folder, error) {
	f := &folder{path: out, owner: store.Owner{PID: os.Getpid(), Ledger: rand.Text(), Where: "export"}}
	if !isFolder(out) {
		f.path, f.name = filepath.Split(out)
	}
	if f.path == "" {
		f.path = "."
	}
	var err error
	if f.Store, err = store.Open(f.path); err != nil {
		return nil, err
	}
	old, err := f.Read(descriptorName)
	if err == nil && !isOwnDescriptor(old) {
		err = fmt.Errorf("%w: --out: %q is of another program: allowed is a folder without it", ErrOptions,
			filepath.Join(f.path, descriptorName))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		f.close()
		return nil, err
	}
	return f, nil
}

// begin begins a file that no other export writes until close.
func (f *folder) begin(name string) (*store.Pending, error) {
	release, err := f.Claim(name, f.owner)
	if err != nil {
		return nil, err
	}
	f.claims = append(f.claims, release)
	return f.Begin(name)
}

func (f *folder) close() {
	if f != nil && f.Store != nil {
		for _, release := range f.claims {
			_ = release() // the file of a lock may stay
		}
		_ = f.Close() // the lock of the folder only
		f.Store = nil
	}
}

// claimInterval is how often an export tries to write the descriptor that another one writes.
const claimInterval = 20 * time.Millisecond

// commit gives all files their names, the datapackage last.
func (f *folder) commit(ctx context.Context, s *summary, written []*store.Pending, described []resource) error {
	// Exports to other files of the folder wait for each other: each adds to the descriptor.
	release, err := f.Claim(descriptorName, f.owner)
	for errors.Is(err, store.ErrClaimed) {
		if err := delay.Sleep(ctx, claimInterval); err != nil {
			return err
		}
		release, err = f.Claim(descriptorName, f.owner)
	}
	if err != nil {
		return err
	}
	defer func() { _ = release() }() // the file of the lock may stay
	old, err := f.Read(descriptorName)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	descriptor, err := f.Begin(descriptorName)
	if err != nil {
		return err
	}
	defer descriptor.Discard()
	if _, err := descriptor.Write(s.datapackage(described, f.others(old, described))); err != nil {
		return err
	}
	for _, file := range append(slices.Clone(written), descriptor) {
		s.result.Files = append(s.result.Files, filepath.Join(f.path, file.Name()))
	}
	return f.Commit(append(written, descriptor)...)
}

// digest returns size and SHA-256 of a file that is complete.
func digest(name string) (size int64, sum string, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = file.Close() }() // only read
	hash := sha256.New()
	size, err = io.Copy(hash, file)
	return size, "sha256:" + hex.EncodeToString(hash.Sum(nil)), err
}

func folderExists(out string) bool {
	info, err := os.Stat(out)
	return err == nil && info.IsDir() && !strings.HasPrefix(out, "postgres")
}
