package text

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// TestNFCAgainstTables: where edition and run length make no difference, form C is
// that of x/text.
func TestNFCAgainstTables(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	blocks := []int32{'a', 0xc0, 0x300, 0x340, 0x1100, 0x1160, 0x11a8, 0xac00, 0x1e00, 0x1f00, 0x900, 0x3040, 0x2f00, 0xf900, 0x1d150}
	for range 30000 {
		var b strings.Builder
		for range 1 + rng.IntN(8) {
			r := blocks[rng.IntN(len(blocks))] + rng.Int32N(0x50)
			if !unicode.Is(laterMarks, r) {
				b.WriteRune(r)
			}
		}
		s := b.String()
		if got, want := nfc(s), norm.NFC.String(s); got != want {
			t.Fatalf("%+q: %+q, want %+q", s, got, want)
		}
	}
}

func TestNFCOwnRules(t *testing.T) {
	long := "a" + strings.Repeat("\u0301", 100)
	for in, want := range map[string]string{
		"plain":                    "plain",
		"\u0350\U00011839":         "\u0350\U00011839", // the mark of edition 11 stays where it is
		"\U00011839\u0301\u0334":   "\U00011839\u0334\u0301",
		"e\u0301\xff\u0301e\u0301": "é\xff\u0301é",
		long:                       "á" + long[3:], // no joiner after thirty marks
		"\U00011935\U00011930":     "\U00011935\U00011930",
		"A\u030a \u212b\u2126":     "Å ÅΩ",
	} {
		if got := nfc(in); got != want {
			t.Errorf("%+q: %+q, want %+q", in, got, want)
		}
	}
}

func FuzzNFC(f *testing.F) {
	f.Add("e\u0301\xff\u0301\u1100\u1161\u11a8")
	f.Fuzz(func(t *testing.T, s string) {
		once := nfc(s)
		if twice := nfc(once); twice != once {
			t.Errorf("%+q: %+q, then %+q", s, once, twice)
		}
		if utf8.ValidString(s) != utf8.ValidString(once) {
			t.Errorf("%+q: %+q", s, once)
		}
	})
}
