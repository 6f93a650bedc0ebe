package store

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	claim := func(part string, owner Owner) func() {
		t.Helper()
		release, err := open().Claim(part, owner)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := release(); err != nil {
				t.Error(err)
			}
		}
	}
	mine, other := Owner{1, "a", "data_dir /a"}, Owner{2, "b", "data_dir /b"}
	refused := func(owner, holder Owner) {
		t.Helper()
		_, err := open().Claim("IMM-25", owner)
		if !errors.Is(err, ErrClaimed) || !errors.Is(err, ErrNotWritable) || !strings.Contains(err.Error(), holder.Where) {
			t.Errorf("%v, want an error that names %s", err, holder.Where)
		}
	}
	first, second := claim("IMM-25", mine), claim("IMM-25", mine)
	refused(other, mine)
	claim("IMM-24", other)()
	first()
	refused(other, mine)
	second()
	third := claim("IMM-25", other)
	refused(mine, other)
	third()
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v", left, err)
	}
}
