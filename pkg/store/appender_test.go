package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestAppender_MatchesModel compares any order of appends, cuts and reopens with a string.
func TestAppender_MatchesModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := openStore(t, t.TempDir())
		a, err := s.Appender("sub/lines")
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = a.Close() }()
		model := ""
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				text := rapid.StringN(0, 20, -1).Draw(rt, "text")
				model += text
				if err := errors.Join(a.Append([]byte(text)), a.Sync()); err != nil {
					rt.Fatal(err)
				}
			},
			"cut": func(rt *rapid.T) {
				offset := rapid.IntRange(0, len(model)).Draw(rt, "offset")
				model = model[:offset]
				if err := a.TruncateTo(int64(offset)); err != nil {
					rt.Fatal(err)
				}
			},
			"reopen": func(rt *rapid.T) {
				var err error
				if _, err = a.Size(), a.Close(); err != nil {
					rt.Fatal(err)
				}
				if a, err = s.Appender("sub/lines"); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				data, err := s.Read("sub/lines")
				if err != nil || string(data) != model || a.Size() != int64(len(model)) {
					rt.Fatalf("%v, size %d: %s", err, a.Size(), cmp.Diff(model, string(data)))
				}
			},
		})
	})
}

func TestAppender_TruncateBeyondEnd(t *testing.T) {
	s := openStore(t, t.TempDir())
	a, err := s.Appender("lines")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Append([]byte("one\n")); err != nil {
		t.Fatal(err)
	}
	if err := a.TruncateTo(5); !errors.Is(err, ErrTooShort) || errors.Is(err, ErrNotWritable) {
		t.Errorf("got %v", err)
	}
	if a.Size() != 4 {
		t.Errorf("size %d after a refused cut, want 4", a.Size())
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.Append([]byte("x")); !errors.Is(err, ErrNotWritable) {
		t.Errorf("append after close: got %v", err)
	}
	if err := a.Sync(); !errors.Is(err, ErrNotWritable) {
		t.Errorf("sync after close: got %v", err)
	}
	if err := a.TruncateTo(0); !errors.Is(err, ErrNotWritable) {
		t.Errorf("cut after close: got %v", err)
	}
}
