package fcttest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// recordSchemaFile is the schema of a record, from the root of the module.
const recordSchemaFile = "schema/record.schema.json"

// RecordSchemaPath returns the path of the schema of a record.
func RecordSchemaPath(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd() // the folder of the package under test
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return filepath.Join(folder, recordSchemaFile)
		}
		if folder == filepath.Dir(folder) {
			t.Fatal("no go.mod above the package")
		}
		folder = filepath.Dir(folder)
	}
}

// RecordSchema returns a function that validates the file of a record against the schema. Formats,
// such as dates, are checked too.
func RecordSchema(t testing.TB) func(file []byte) error {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(RecordSchemaPath(t))
	if err != nil {
		t.Fatal(err)
	}
	return func(file []byte) error {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
		if err != nil {
			return err
		}
		return schema.Validate(value)
	}
}
