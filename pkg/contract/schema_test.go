package contract_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"fct-scraper/pkg/contract"
	"fct-scraper/pkg/fcttest"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite schema/record.schema.json")

// object is a JSON object that keeps the order of its members.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, m := range o {
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%c%q:%s", "{,"[min(i, 1)], m.name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// objectSchema returns the schema of a struct. All of its fields are required, in its order.
func objectSchema(t reflect.Type) object {
	var properties object
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous {
			name := f.Tag.Get("json")
			names, properties = append(names, name), append(properties, member{name, fieldSchema(f)})
		}
	}
	return object{{"type", "object"}, {"properties", properties}, {"required", names}, {"additionalProperties", false}}
}

// fieldSchema returns the schema of a field by its type and its tags help, format and null.
func fieldSchema(f reflect.StructField) object {
	nullable := f.Tag.Get("null") != "no"
	schema := object{{"description", f.Tag.Get("help")}}
	add := func(name string, value any) { schema = append(schema, member{name, value}) }
	ofType := func(name string) {
		if nullable {
			add("type", []string{name, "null"})
		} else {
			add("type", name)
		}
	}
	switch f.Type {
	case reflect.TypeFor[contract.CaseID]():
		ofType("string")
		add("pattern", "^[A-Z]{1,5}-[1-9][0-9]{0,4}-[0-9]{2}$")
		return schema
	case reflect.TypeFor[time.Time]():
		ofType("string")
		add("format", "date-time")
		return schema
	case reflect.TypeFor[contract.YesNo]():
		ofType("boolean")
		return schema
	}
	switch f.Type.Kind() {
	case reflect.String:
		ofType("string")
		if nullable {
			add("minLength", 1)
		}
		if format := f.Tag.Get("format"); format != "" {
			add("format", format)
		}
	case reflect.Int:
		ofType("integer")
		switch {
		case f.Name == "Version":
			add("const", contract.RecordVersion)
		case nullable:
			add("minimum", 1)
		default:
			add("minimum", 0)
		}
	case reflect.Slice:
		ofType("array")
		if f.Type.Elem().Kind() == reflect.Struct {
			add("items", objectSchema(f.Type.Elem()))
		} else {
			add("items", object{{"type", "string"}})
		}
	default:
		panic("no schema for " + f.Type.String())
	}
	return schema
}

func recordSchema(t *testing.T) []byte {
	t.Helper()
	schema := append(object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "Record"},
		{"description", "File of one case, such as cases/IMM/25/IMM-231-25.json. null is unknown: the site did not " +
			"give the field, or was not asked for it."},
	}, objectSchema(reflect.TypeFor[contract.Record]())...)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestRecordSchema_Current: the schema is the one of the types; with -update it is written.
func TestRecordSchema_Current(t *testing.T) {
	t.Parallel()
	path, want := fcttest.RecordSchemaPath(t), recordSchema(t)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the schema is not that of the types; go test ./pkg/contract -run Schema_Current -update writes it (-want +got):\n%s", diff)
	}
}

// TestRecordSchema_Validates: the schema accepts records, full and empty, and refuses what a record
// never is.
func TestRecordSchema_Validates(t *testing.T) {
	t.Parallel()
	validate := fcttest.RecordSchema(t)
	for _, name := range []string{"full.json", "empty.json"} {
		if err := validate(golden(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	full := string(golden(t, "full.json"))
	for _, c := range []struct{ from, to string }{
		{`"version": 2`, `"version": 1`}, {`"entries": 2`, `"entries": null`},
		{`"filed_on": "2025-02-03"`, `"filed_on": ""`},
		{`"filed_on": "2025-02-03"`, `"filed_on": "2025-02-30"`}, {`"filed_on"`, `"day"`},
		{`"case_id": "IMM-1342-25"`, `"case_id": "IMM-01-25"`},
		{`"can_publish": true`, `"can_publish": "Y"`}, {`"entry_number": 1`, `"entry_number": "1"`},
		{`"entry_number": 1`, `"entry_number": 0`},
		{`"fetched_at": "2026-03-01T`, `"fetched_at": "2026-03-01 `}, {`"text": "letter",`, ``},
		{`"name": "MCI"`, `"name": null`},
	} {
		changed := strings.Replace(full, c.from, c.to, 1)
		if changed == full || validate([]byte(changed)) == nil {
			t.Errorf("%s in place of %s is accepted", c.to, c.from)
		}
	}
}

// TestRecordSchema_Nullable: the fields that the schema allows to be null are those that a record
// without any value has as null.
func TestRecordSchema_Nullable(t *testing.T) {
	t.Parallel()
	decoded := func(r contract.Record) (object map[string]any) {
		if err := json.Unmarshal(r.FileContent(), &object); err != nil {
			t.Fatal(err)
		}
		return object
	}
	empty := contract.Record{CaseID: fullRecord().CaseID}
	withElements := empty
	withElements.Parties, withElements.Docket = []contract.Party{{}}, []contract.DocketEntry{{}}
	for of, values := range map[reflect.Type]any{
		reflect.TypeFor[contract.Record]():      decoded(empty),
		reflect.TypeFor[contract.Party]():       decoded(withElements)["parties"].([]any)[0],
		reflect.TypeFor[contract.DocketEntry](): decoded(withElements)["docket"].([]any)[0],
	} {
		for _, f := range reflect.VisibleFields(of) {
			value, found := values.(map[string]any)[f.Tag.Get("json")]
			if !f.Anonymous && (!found || (value == nil) != (f.Tag.Get("null") != "no")) {
				t.Errorf("%s.%s is %v, found %t", of.Name(), f.Name, value, found)
			}
		}
	}
}

// TestRecordDictionary: docs/data.md lists all fields in their order, with their types.
func TestRecordDictionary(t *testing.T) {
	t.Parallel()
	dictionary, err := os.ReadFile(filepath.Join(filepath.Dir(fcttest.RecordSchemaPath(t)), "../docs/data.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ((?:string|date|date-time|integer|boolean|array)(?: or null)?) \\|").
		FindAllStringSubmatch(string(dictionary), -1)
	var got, want []string
	for _, row := range rows {
		got = append(got, row[1]+" "+row[2])
	}
	for _, of := range []reflect.Type{
		reflect.TypeFor[contract.Record](), reflect.TypeFor[contract.Party](), reflect.TypeFor[contract.DocketEntry](),
	} {
		for _, f := range reflect.VisibleFields(of) {
			if f.Anonymous {
				continue
			}
			kind := map[reflect.Kind]string{
				reflect.String: "string", reflect.Int: "integer", reflect.Slice: "array", reflect.Int8: "boolean",
			}[f.Type.Kind()]
			switch {
			case f.Tag.Get("format") != "":
				kind = f.Tag.Get("format")
			case f.Type == reflect.TypeFor[contract.CaseID]():
				kind = "string"
			case f.Type == reflect.TypeFor[time.Time]():
				kind = "date-time"
			}
			if f.Tag.Get("null") != "no" {
				kind += " or null"
			}
			want = append(want, f.Tag.Get("json")+" "+kind)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields of the types (-) and of docs/data.md (+):\n%s", diff)
	}
}
