package engine

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"unicode/utf8"
)

const fakeEOS = 256

// fakeModel has bytes for tokens. Its logits are noise that depends on the whole
// text so far, or spell script out where one is set.
type fakeModel struct {
	context int
	script  string // what greedy decoding answers, then EOS
	step    func() // called within every Extend
	using   atomic.Int32
	open    atomic.Int32
	fed     atomic.Int32
}

func (m *fakeModel) NewSequence(int) Sequence { m.open.Add(1); return &fakeSequence{m: m} }
func (m *fakeModel) Context() int             { return m.context }
func (m *fakeModel) Vocab() int               { return 257 }

type fakeSequence struct {
	m    *fakeModel
	hash uint64
	said int
	fed  bool
}

func (s *fakeSequence) Extend(ids []int32) ([]float32, error) {
	all, err := s.ExtendAll(ids)
	return all[len(all)-257:], err
}

func (s *fakeSequence) ExtendAll(ids []int32) ([]float32, error) {
	if s.m.using.Add(1) != 1 {
		panic("two sequences in the model at a time")
	}
	defer s.m.using.Add(-1)
	s.m.fed.Add(int32(len(ids)))
	if s.m.step != nil {
		s.m.step()
	}
	var out []float32
	for _, id := range ids {
		s.hash = (s.hash ^ uint64(id+1)) * 0x100000001b3
		r := rand.New(rand.NewPCG(s.hash, 1))
		row := make([]float32, 257)
		for i := range row {
			row[i] = float32(r.NormFloat64())
		}
		row[fakeEOS] = -20
		out = append(out, row...)
	}
	if s.m.script != "" {
		if s.fed {
			s.said++
		}
		s.fed = true
		want := fakeEOS
		if s.said < len(s.m.script) {
			want = int(s.m.script[s.said])
		}
		out[len(out)-257+want] = 30
	}
	return out, nil
}

func (s *fakeSequence) Close() { s.m.open.Add(-1) }

type byteCodec struct{}

func (byteCodec) NewDecoder() Decoder { return &byteDecoder{} }
func (byteCodec) EOS() int32          { return fakeEOS }
func (byteCodec) DecodeBytes(ids []int32) (b []byte) {
	for _, id := range ids {
		b = append(b, byte(id))
	}
	return b
}

type byteDecoder struct{ pending []byte }

func (d *byteDecoder) Next(id int32) string {
	d.pending = append(d.pending, byte(id))
	if !utf8.FullRune(d.pending) {
		return ""
	}
	return d.Flush()
}

func (d *byteDecoder) Flush() string {
	s := []rune(string(d.pending))
	d.pending = nil
	return string(s)
}

func fakeEngine(t *testing.T, m *fakeModel, lim Limits) *Engine {
	t.Helper()
	if m.context == 0 {
		m.context = 512
	}
	e := Of(m, byteCodec{}, lim)
	t.Cleanup(func() {
		if n := m.open.Load(); n != 0 {
			t.Errorf("%d sequences were never closed", n)
		}
		if a, w := e.Load(); a != 0 || w != 0 {
			t.Errorf("%d active and %d waiting are left", a, w)
		}
	})
	return e
}

func ids(s string) []int32 {
	var out []int32
	for _, b := range []byte(s) {
		out = append(out, int32(b))
	}
	return out
}
