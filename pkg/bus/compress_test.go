package bus_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"fct-scraper/pkg/bus"
	"fct-scraper/pkg/contract"

	"pgregory.net/rapid"
)

func TestCompress_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.StringMatching(`\{[a-z]{0,20}\}`).Draw(t, "head")
		rest := bytes.Repeat(rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "rest"), rapid.IntRange(0, 50).Draw(t, "times"))
		sent := append([]byte(head+"\n"), rest...)
		got, err := bus.Decompress(bus.Compress(sent))
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes became %d: %v", len(sent), len(got), err)
		}
	})
}

func TestCompress_SmallWithReadableFirstLine(t *testing.T) {
	t.Parallel()
	sent := []byte(`{"run_id":"x"}` + "\n" + strings.Repeat(`{"COURT_NO":"IMM-1-25","STYLE_OF_CAUSE":"A v. B"},`, 100))
	compressed := bus.Compress(sent)
	if len(compressed) > len(sent)/8 || !bytes.Contains(compressed, []byte(`{"run_id":"x"}`)) {
		t.Errorf("%d bytes became %d: %.40q", len(sent), len(compressed), compressed)
	}
	for _, broken := range [][]byte{compressed[:len(compressed)-1], []byte("s2\n"), []byte("s2\n{}\n"), []byte("s2\n{}\n\xff\xff\xff\xff\xff\x0f")} {
		if _, err := bus.Decompress(broken); !errors.Is(err, contract.ErrMessage) {
			t.Errorf("%.20q: %v", broken, err)
		}
	}
}
