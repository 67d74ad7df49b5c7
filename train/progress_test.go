package train

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A terminal of 80 columns has room for every figure of a long run's line; a log file
// gets it in full.
func TestLiveLineFits(t *testing.T) {
	l := &Line{Step: 12345, Loss: 2.34567, BPB: 1.2345, LoadMaxMean: 1.234, TokensPerS: 12345, MFU: 0.567}
	var b strings.Builder
	p := NewProgress(&b)
	p.step(l, 23456, 3*time.Hour)
	full := strings.TrimSuffix(b.String(), "\n")
	for _, want := range []string{"  loss 2.3457", "1.234 bits/byte", "12.3k tok/s", "MFU 57 %", "load 1.23", "3h00m left"} {
		if !strings.Contains(full, want) {
			t.Errorf("%q does not say %q", full, want)
		}
	}
	if got := fitted(full, 100); got != full {
		t.Errorf("a wide terminal gets %q", got)
	}
	if got := fitted(full, 79); utf8.RuneCountInString(got) > 79 || !strings.HasSuffix(got, " 3h00m left") || !strings.Contains(got, "load 1.23") {
		t.Errorf("80 columns get %q, %d wide", got, utf8.RuneCountInString(got))
	}
}
