package text

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// TestClasses compares the table with the toolchain's for what both editions of
// Unicode assign: a code point may be newer in one, but not of another kind.
func TestClasses(t *testing.T) {
	tables := map[uint8][]*unicode.RangeTable{clsL: {unicode.L}, clsM: {unicode.M}, clsN: {unicode.N}, clsPS: {unicode.P, unicode.S}, clsS: {unicode.White_Space}}
	cls, newer := classes(), 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		var want uint8
		for bit, in := range tables {
			if unicode.In(r, in...) {
				want |= bit
			}
		}
		got := cls.of(r) & (clsL | clsM | clsN | clsPS | clsS)
		if got == want {
			continue
		}
		if newer++; got != 0 && want != 0 && r < 0x10000 {
			t.Errorf("%U: class %b, toolchain has %b", r, got, want)
		}
	}
	if newer > 20000 {
		t.Errorf("%d code points differ from the toolchain's", newer)
	}
}

// TestPieces spells out what each pre-tokeniser does with the hard places.
func TestPieces(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"deepseek-v3", "12345年6", "123|45|年|6"},
		{"deepseek-v3", "a  123", "a|  |123"},
		{"deepseek-v3", "a  b\t!", "a| | b|\t|!"},
		{"deepseek-v3", "x \n \n  y", "x| \n \n| | y"},
		{"deepseek-v3", "f(x)->y.Z\r\n", "f|(x|)->|y|.Z|\r\n"},
		{"deepseek-v3", "!!abc !!\n\n", "!!|abc| !!\n\n"},
		{"deepseek-v3", "日・本語abc", "日|・|本語|abc"},
		{"deepseek-v3", "\x00\x01\x02a\x00", "\x00\x01|\x02a|\x00"},
		{"deepseek-v3", "a\xffb\xff\xff", "a|\xffb|\xff\xff"},
		{"llama-3", "I'M 12345 don't", "I|'M| |123|45| don|'t"},
		{"llama-3", "'ſ x\n\n y", "'ſ| x|\n\n| y"},
		{"qwen2", "a123", "a|1|2|3"},
		{"gpt-2", "I'M it's 12345\n\n x", "I|'|M| it|'s| 12345|\n\n| x"},
		{"smollm", "a  12 b", "a|  |1|2| b"},
	} {
		i := slices.IndexFunc(preTokenizers, func(p *preTokenizer) bool { return p.name == c.name })
		if got := strings.Join(pieces(preTokenizers[i], c.text), "|"); got != c.want {
			t.Errorf("%s: %q is cut %q, want %q", c.name, c.text, got, c.want)
		}
	}
}

func pieces(p *preTokenizer, s string) (out []string) {
	for i := 0; i < len(s); {
		j := p.next(classes(), s, i)
		out = append(out, s[i:j])
		i = j
	}
	return out
}

// randomText is hostile on purpose: every class, broken UTF-8, runs, control tokens.
func randomText(rng *rand.Rand, tok *Tokenizer) string {
	var b strings.Builder
	for range rng.IntN(40) {
		switch rng.IntN(6) {
		case 0:
			b.WriteRune(rng.Int32N(unicode.MaxRune + 1))
		case 1:
			b.WriteByte(byte(rng.Uint32()))
		case 2:
			b.WriteString(strings.Repeat(string(rune(rng.IntN(0x3100))), rng.IntN(50)))
		case 3:
			b.WriteString(tok.added[rng.IntN(len(tok.added))].Content)
		default:
			b.WriteString([]string{" the", "func ", "\n\n\t", "0123", "中文字符", "...", "don't", " ", "_x"}[rng.IntN(9)])
		}
	}
	return b.String()
}

// TestRoundTrip: every string comes back from its ids, byte for byte; the stream says
// what Decode says, in parts that are UTF-8.
func TestRoundTrip(t *testing.T) {
	tok, rng := smallTokenizer(t), rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		s := randomText(rng, tok)
		for _, ids := range [][]int32{tok.Encode(s), tok.EncodeWithSpecial(s)} {
			if got := string(tok.DecodeBytes(ids)); got != s {
				t.Fatalf("%q comes back as %q", s, got)
			}
			checkStream(t, tok, ids)
		}
		if slices.ContainsFunc(tok.Encode(s), func(id int32) bool { return tok.Added(id) != nil }) {
			t.Fatalf("%q: Encode gives a control token", s)
		}
	}
	for range 3000 { // ids of no text at all
		ids := make([]int32, rng.IntN(20))
		for i := range ids {
			ids[i] = rng.Int32N(400) - 20
		}
		checkStream(t, tok, ids)
	}
}

func checkStream(t *testing.T, tok *Tokenizer, ids []int32) {
	t.Helper()
	var b strings.Builder
	s := tok.NewStream()
	for _, id := range ids {
		part := s.Next(id)
		if !utf8.ValidString(part) {
			t.Fatalf("%v: the stream gives %q", ids, part)
		}
		b.WriteString(part)
	}
	b.WriteString(s.Flush())
	if want := tok.Decode(ids); b.String() != want || s.Flush() != "" {
		t.Fatalf("%v: the stream gives %q, Decode %q", ids, b.String(), want)
	}
}

// TestLossy: one U+FFFD for each maximal part of a character (Unicode 3.9, as Rust
// and browsers do).
func TestLossy(t *testing.T) {
	for in, want := range map[string]string{
		"a\xffb":                           "a\ufffdb",
		"\xe4\xb8x":                        "\ufffdx",
		"\xe4\xb8":                         "\ufffd",
		"\xf0\x9f\x98\xf0\x9f\x98\x80":     "\ufffd😀",
		"\xed\xa0\x80":                     "\ufffd\ufffd\ufffd",
		"\xc0\x80\xe0\x80\xf0\x80\xf4\x90": strings.Repeat("\ufffd", 8),
		"\xf1\x80\x80\xe2\x80a\xc2":        "\ufffd\ufffda\ufffd",
	} {
		if got := lossy(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// slowMerge is the definition of BPE: the lowest rank first, the leftmost of equals.
func slowMerge(m *mergeTable, ids []int32) []int32 {
	for {
		best, at, to := noRank, 0, int32(0)
		for i := 1; i < len(ids); i++ {
			if r, id := m.find(ids[i-1], ids[i]); r < best {
				best, at, to = r, i, id
			}
		}
		if best == noRank {
			return ids
		}
		ids[at-1] = to
		ids = slices.Delete(ids, at, at+1)
	}
}

// TestMergeForms: the short and the long form of merging, and the definition, agree.
func TestMergeForms(t *testing.T) {
	tok, rng := smallTokenizer(t), rand.New(rand.NewPCG(3, 4))
	source := string(bytes.Join(goSource(t, 1<<16), nil))
	for range 2000 {
		n := 1 + rng.IntN(200)
		at := rng.IntN(len(source) - n)
		ids := make([]int32, n)
		for i := range ids {
			ids[i] = tok.byteID[source[at+i]]
		}
		if rng.IntN(4) == 0 {
			for i := range ids {
				ids[i] = tok.byteID["ab"[rng.IntN(2)]]
			}
		}
		want := slowMerge(tok.merges, slices.Clone(ids))
		short := tok.merges.mergeShort(&scratch{ids: slices.Clone(ids)})
		long := tok.merges.mergeLong(&scratch{ids: slices.Clone(ids)})
		if !slices.Equal(short, want) || !slices.Equal(long, want) {
			t.Fatalf("%q: short %v, long %v, want %v", source[at:at+n], short, long, want)
		}
	}
}

// TestT12Bombs: text made to be slow. A megabyte takes less than a second; the bound
// here is far looser, because tests run beside others.
func TestT12Bombs(t *testing.T) {
	for _, unit := range []string{"a", " ", "\n", "0", "=", "<", "中", "\x00", "\xff", "ab", " \n", "<｜", "e\u0301", "<｜User｜>"} {
		size := 1 << 17
		if unit == "a" || unit == " " {
			size = 1 << 20
		}
		s, tok := strings.Repeat(unit, size/len(unit)), smallTokenizer(t)
		start := time.Now()
		ids := tok.EncodeWithSpecial(s)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%d bytes of %q take %v", size, unit, took)
		}
		if tok.Decode(ids) != lossy(s) {
			t.Errorf("%q does not come back", unit)
		}
	}
}

func TestConcurrentEncode(t *testing.T) {
	tok := smallTokenizer(t)
	docs := goSource(t, 1<<19)
	want := make([][]int32, len(docs))
	for i, d := range docs {
		want[i] = tok.Encode(string(d))
	}
	t.Run("group", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i, d := range docs {
					if !slices.Equal(tok.Encode(string(d)), want[i]) {
						t.Errorf("document %d differs", i)
					}
				}
			})
		}
	})
}

// TestAddedFlags follows Hugging Face's treatment of each flag.
func TestAddedFlags(t *testing.T) {
	base := mustTrain(t, [][]byte{[]byte("aa aa")}, TrainOptions{VocabSize: MinVocab})
	for _, c := range []struct {
		token AddedToken
		text  string
		want  string // the parts, control tokens in brackets
	}{
		{AddedToken{Content: "<x>"}, "a <x> b<x>", "a |[<x>]| b|[<x>]"},
		{AddedToken{Content: "<x>", LStrip: true}, "a \n<x> b", "a|[ \n<x>]| b"},
		{AddedToken{Content: "<x>", RStrip: true}, "a <x> \u3000b", "a |[<x> \u3000]|b"},
		{AddedToken{Content: "<x>", LStrip: true, RStrip: true}, "<x> <x>", "[<x> ]|[<x>]"},
		{AddedToken{Content: "xyz", SingleWord: true}, "xyz axyz xyz1 _xyz (xyz)", "[xyz]| axyz xyz1 _xyz (|[xyz]|)"},
		{AddedToken{Content: "<x>", Normalized: true}, "<x><<x>x>", "[<x>]|<|[<x>]|x>"},
	} {
		c.token.ID = 1000
		f := &trie{}
		*f = *newTrie()
		f.add(&c.token)
		var got []string
		f.split(c.text, func(part string, id int32) {
			if id >= 0 {
				part = "[" + part + "]"
			}
			got = append(got, part)
		})
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%+v in %q: %q, want %q", c.token, c.text, s, c.want)
		}
	}
	if ids := base.EncodeWithSpecial("<<｜User｜><think>>"); len(ids) != 4 {
		t.Errorf("ids %v", ids)
	}
}

// TestLongestAdded: where two added tokens begin, the longer one is meant.
func TestLongestAdded(t *testing.T) {
	tr := newTrie()
	short, long := &AddedToken{ID: 1, Content: "<a"}, &AddedToken{ID: 2, Content: "<ab>"}
	tr.add(short)
	tr.add(long)
	var ids []int32
	tr.split("<ab><ab<a", func(_ string, id int32) { ids = append(ids, id) })
	if want := []int32{2, 1, -1, 1}; !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
}
