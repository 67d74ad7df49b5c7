package engine

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"sonde/model"
)

const fakeEOS = 256

// fakeModel has bytes for tokens. Its logits are noise that depends on the whole
// text so far, or spell script out where one is set.
type fakeModel struct {
	context int
	script  string // what greedy decoding answers, then EOS
	step    func() // called within every pass
	using   atomic.Int32
	open    atomic.Int32
	mu      sync.Mutex
	passes  [][]int // rows of each part of each pass
}

func (m *fakeModel) NewSequence(maxLen int) model.Sequence {
	m.open.Add(1)
	return &fakeSequence{m: m, max: maxLen}
}
func (m *fakeModel) Context() int { return m.context }
func (m *fakeModel) Vocab() int   { return 257 }

// Forward notes what came together in one pass and runs the parts one by one.
func (m *fakeModel) Forward(parts []model.Part) error {
	if m.using.Add(1) != 1 {
		panic("two passes of the model at a time")
	}
	defer m.using.Add(-1)
	var rows []int
	for _, p := range parts {
		rows = append(rows, len(p.IDs))
	}
	m.mu.Lock()
	m.passes = append(m.passes, rows)
	m.mu.Unlock()
	if m.step != nil {
		m.step()
	}
	for i := range parts {
		p := &parts[i]
		all := p.Sequence.(*fakeSequence).extend(p.IDs)
		switch p.Want {
		case model.WantAll:
			p.Logits = append(p.Logits[:0], all...)
		case model.WantLast:
			p.Logits = append(p.Logits[:0], all[len(all)-257:]...)
		}
	}
	return nil
}

type fakeSequence struct {
	m    *fakeModel
	hash uint64
	said int
	len  int
	max  int
}

// extend gives the logits of every position.
func (s *fakeSequence) extend(ids []int32) []float32 {
	if s.len += len(ids); s.len > s.max {
		panic("a sequence grew beyond its bound")
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
		if len(ids) == 1 && s.len > 1 {
			s.said++
		}
		want := fakeEOS
		if s.said < len(s.m.script) {
			want = int(s.m.script[s.said])
		}
		out[len(out)-257+want] = 30
	}
	return out
}

func (s *fakeSequence) Len() int     { return s.len }
func (s *fakeSequence) Max() int     { return s.max }
func (s *fakeSequence) Truncate(int) { panic("not needed here") }
func (s *fakeSequence) Close()       { s.m.open.Add(-1) }

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
