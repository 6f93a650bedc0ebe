package export

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/store"
)

// descriptorName is the name that Frictionless Data gives a descriptor.
const descriptorName = "datapackage.json"

// packageName is the name of a package of this program.
const packageName = "fct-scraper"

// descriptor is a Frictionless Data Package (datapackage.org, version 1).
type descriptor struct {
	Profile   string `json:"profile"`
	Name      string `json:"name"`
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
	Resources []any  `json:"resources"`
}

// resource describes one table. What is specific to this program is under export: a folder may have
// tables of several exports.
type resource struct {
	Profile     string         `json:"profile"`
	Name        string         `json:"name"`
	Path        string         `json:"path"`
	Description string         `json:"description"`
	Format      string         `json:"format"`
	MediaType   string         `json:"mediatype"`
	Encoding    string         `json:"encoding,omitempty"`
	Compression string         `json:"compression,omitempty"`
	Dialect     map[string]any `json:"dialect,omitempty"`
	Bytes       int64          `json:"bytes"`
	Hash        string         `json:"hash"`
	Rows        int            `json:"row_count"`
	Schema      tableSchema    `json:"schema"`
	Export      exported       `json:"export"`
}

// exported says of which point of which store a table is.
type exported struct {
	At       time.Time         `json:"at"`
	Program  string            `json:"program"`
	Sequence uint64            `json:"ledger_sequence"`
	Runs     []contract.RunID  `json:"run_ids"`
	Filters  map[string]string `json:"filters"`
	Coverage Outcomes          `json:"coverage"`
}

type tableSchema struct {
	Fields        []schemaField `json:"fields"`
	MissingValues []string      `json:"missingValues"`
	PrimaryKey    []string      `json:"primaryKey,omitempty"`
}

type schemaField struct {
	Name        string         `json:"name"`
	Type        string         `json:"type"`
	Format      string         `json:"format,omitempty"`
	Description string         `json:"description"`
	Constraints map[string]any `json:"constraints,omitempty"`
}

// schemaOf returns the Table Schema of a table.
func schemaOf(t Table) tableSchema {
	s := tableSchema{Fields: []schemaField{}, MissingValues: []string{""}, PrimaryKey: t.keys()}
	for _, c := range t.Columns {
		f := schemaField{Name: c.Name, Description: c.Help,
			Type: [...]string{Text: "string", Int: "integer", Bool: "boolean", Date: "date", Time: "datetime",
				List: "array", JSON: "any"}[c.Type]}
		if c.key {
			f.Constraints = map[string]any{"required": true}
		}
		s.Fields = append(s.Fields, f)
	}
	for _, n := range t.nested {
		s.Fields = append(s.Fields, schemaField{Name: n.name, Type: "array", Description: n.table.Help})
	}
	return s
}

// describe describes a table in a file that is complete.
func (s *summary) describe(t Table, file *store.Pending) (resource, error) {
	size, sum, err := digest(file.Path())
	if err != nil {
		return resource{}, file.NotWritable(err)
	}
	r := resource{
		Profile: "tabular-data-resource", Name: t.Name, Path: file.Name(), Description: t.Help, Format: s.Format,
		Bytes: size, Hash: sum, Rows: s.result.Rows[t.Name], Schema: schemaOf(t),
		Export: exported{s.Now.UTC(), s.Program, s.Sequence, s.Runs, s.Filters, s.result.Outcomes},
		MediaType: map[string]string{
			FormatCSV: "text/csv", FormatNDJSON: "application/x-ndjson",
			FormatParquet: "application/vnd.apache.parquet",
			FormatSQLite:  "application/vnd.sqlite3",
			FormatXLSX:    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
		}[s.Format],
	}
	if s.Format != FormatCSV {
		r.Profile = "data-resource"
	}
	if s.Format == FormatCSV || s.Format == FormatNDJSON {
		r.Encoding = "utf-8"
	}
	if extension, compressed := compression(file.Name()); compressed {
		r.Compression = extension[1:]
	}
	return r, nil
}

// datapackage returns the descriptor of this export's tables and of other resources of its folder.
func (s *summary) datapackage(described []resource, others []otherResource) []byte {
	d := descriptor{Profile: "data-package", Name: packageName, Created: s.Now.UTC().Format(time.RFC3339),
		CreatedBy: s.Program}
	for _, r := range described {
		if slices.ContainsFunc(others, func(o otherResource) bool { return o.Name == r.Name }) {
			r.Name = resourceName(r.Path + "." + r.Name)
		}
		d.Resources = append(d.Resources, r)
	}
	for _, o := range others {
		d.Resources = append(d.Resources, o.raw)
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	_ = e.Encode(d) // plain values
	return text.Bytes()
}

// resourceName returns a text as the name of a resource, which Frictionless Data limits to some
// characters.
func resourceName(text string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
}

// otherResource is a resource of an older export.
type otherResource struct {
	Name string `json:"name"`
	Path string `json:"path"`
	raw  json.RawMessage
}

// ownDescriptor is what of a descriptor this program reads again.
type ownDescriptor struct {
	Name      string            `json:"name"`
	Resources []json.RawMessage `json:"resources"`
}

func isOwnDescriptor(text []byte) bool {
	var d ownDescriptor
	return json.Unmarshal(text, &d) == nil && d.Name == packageName
}

// others returns the resources of an older descriptor that are not described anew and whose files
// are still there.
func (f *folder) others(old []byte, described []resource) (others []otherResource) {
	var before ownDescriptor
	if json.Unmarshal(old, &before) != nil {
		return nil
	}
	for _, raw := range before.Resources {
		o := otherResource{raw: raw}
		again := func(d resource) bool { return d.Path == o.Path }
		if json.Unmarshal(raw, &o) == nil && !slices.ContainsFunc(described, again) && filepath.IsLocal(o.Path) &&
			f.has(o.Path) {
			others = append(others, o)
		}
	}
	return others
}

func (f *folder) has(name string) bool {
	file, err := f.Reader(name)
	if err != nil {
		return false
	}
	_ = file.Close() // only opened
	return true
}
