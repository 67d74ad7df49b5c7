package engine

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestStopper(t *testing.T) {
	tests := []struct {
		stops     []string
		in        []string
		out, stop string
	}{
		{nil, []string{"abc"}, "abc", ""},
		{[]string{"STOP"}, []string{"one ST", "OP two"}, "one ", "STOP"},
		{[]string{"STOP"}, []string{"S", "T", "O", "x"}, "STOx", ""},
		{[]string{"STOP"}, []string{"one ST"}, "one ST", ""},
		{[]string{"aab"}, []string{"a", "a", "a", "b"}, "a", "aab"},
		{[]string{"abcd", "bc"}, []string{"abcd"}, "a", "bc"},
		{[]string{"c", "bc"}, []string{"abc"}, "a", "bc"},
		{[]string{"\n\n"}, []string{"a\n", "b\n", "\nc"}, "a\nb", "\n\n"},
	}
	for _, tc := range tests {
		s := stopper{stops: tc.stops}
		out, hit := "", ""
		for _, piece := range tc.in {
			var o string
			o, hit = s.push(piece)
			out += o
			if hit != "" {
				break
			}
		}
		if hit == "" {
			out += s.flush()
		}
		if out != tc.out || hit != tc.stop {
			t.Errorf("%q in %q: %q and %q, want %q and %q", tc.stops, tc.in, out, hit, tc.out, tc.stop)
		}
	}
}

// However a text is cut, the outcome is that of one byte at a time, and no part of
// the stop string ever gets out.
func TestStopperProperty(t *testing.T) {
	run := func(stops, pieces []string) (string, string) {
		s := stopper{stops: stops}
		var out strings.Builder
		for _, p := range pieces {
			o, hit := s.push(p)
			out.WriteString(o)
			if hit != "" {
				return out.String(), hit
			}
		}
		return out.String() + s.flush(), ""
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[ab]{1,4}`)
		stops := rapid.SliceOfN(word, 1, 3).Draw(t, "stops")
		pieces := rapid.SliceOf(word).Draw(t, "pieces")
		text := strings.Join(pieces, "")
		out, hit := run(stops, pieces)
		wantOut, wantHit := run(stops, strings.Split(text, ""))
		if out != wantOut || hit != wantHit {
			t.Fatalf("%q and %q, byte by byte %q and %q", out, hit, wantOut, wantHit)
		}
		if !strings.HasPrefix(text, out+hit) {
			t.Fatalf("%q is not the beginning of %q", out+hit, text)
		}
		for _, s := range stops {
			if strings.Contains(out, s) {
				t.Fatalf("%q leaked into %q", s, out)
			}
		}
	})
}
