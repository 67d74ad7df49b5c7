package deepseek

import (
	"fmt"

	"sonde/compute"
	"sonde/nn"
)

// State is one sequence being generated: the latent keys of every layer.
type State struct {
	m      *Model
	ar     *compute.Arena
	work   *compute.Arena
	caches []compute.Tensor // per layer [max, KVLoraRank+QKRopeHeadDim]
	len    int
	max    int
}

// NewState makes an empty sequence of at most maxLen tokens; Close frees it.
func (m *Model) NewState(maxLen int) *State {
	maxLen = min(maxLen, m.cfg.MaxPositionEmbedding)
	s := &State{m: m, ar: m.be.NewArena("a sequence's latent keys"), work: m.be.NewArena("a sequence's activations"), max: maxLen}
	for range m.Layers {
		s.caches = append(s.caches, s.ar.F32(maxLen, m.cfg.mla().Latent()))
	}
	return s
}

// Close frees the sequence's memory.
func (s *State) Close() {
	s.ar.Free()
	s.work.Free()
}

// Len is the number of tokens in the sequence.
func (s *State) Len() int { return s.len }

// Max is the number of tokens the sequence can hold.
func (s *State) Max() int { return s.max }

// Truncate forgets the tokens from n on.
func (s *State) Truncate(n int) { s.len = min(n, s.len) }

// extendChunk bounds the rows of one pass, and with it the memory.
const extendChunk = 128

// Extend appends ids and returns the logits [V] after the last one. The result does
// not depend on how the text is cut into calls. It is an error to go past Max.
func (m *Model) Extend(s *State, ids []int32) ([]float32, error) {
	out := make([]float32, m.cfg.VocabSize)
	err := m.extend(s, ids, func(h compute.Tensor, last bool) {
		if last {
			n := h.NumRows()
			m.head(s.work, out, h.Rows(n-1, n))
		}
	})
	return out, err
}

// ExtendAll is Extend with the logits of every position, [len(ids), V].
func (m *Model) ExtendAll(s *State, ids []int32) ([]float32, error) {
	out := make([]float32, len(ids)*m.cfg.VocabSize)
	rest := out
	err := m.extend(s, ids, func(h compute.Tensor, _ bool) {
		n := h.NumRows() * m.cfg.VocabSize
		m.head(s.work, rest[:n], h)
		rest = rest[n:]
	})
	return out, err
}

func (m *Model) head(ar *compute.Arena, out []float32, h compute.Tensor) {
	logits := ar.F32(h.NumRows(), m.cfg.VocabSize)
	nn.Linear(m.be, logits, h, m.Head, false)
	m.be.DownloadF32(out, logits)
}

func (m *Model) extend(s *State, ids []int32, each func(h compute.Tensor, last bool)) error {
	if len(ids) == 0 {
		return fmt.Errorf("no tokens to extend the sequence with")
	}
	if s.len+len(ids) > s.max {
		return fmt.Errorf("%d tokens after %d do not fit a context of %d", len(ids), s.len, s.max)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= m.cfg.VocabSize {
			return fmt.Errorf("token id %d is outside the vocabulary of %d", id, m.cfg.VocabSize)
		}
	}
	for len(ids) > 0 {
		n := min(extendChunk, len(ids))
		s.work.Reset()
		each(m.extendRows(s, ids[:n]), n == len(ids))
		s.len += n
		ids = ids[n:]
	}
	return nil
}

// extendRows runs up to extendChunk new rows and returns them after the final norm.
func (m *Model) extendRows(s *State, ids []int32) compute.Tensor {
	be, ar, n, d := m.be, s.work, len(ids), m.cfg.HiddenSize
	tok, pos := ar.I32(1, n), ar.I32(1, n)
	at := make([]int32, n)
	for i := range at {
		at[i] = int32(s.len + i)
	}
	be.UploadI32(tok, ids)
	be.UploadI32(pos, at)
	x, h := ar.F32(n, d), ar.F32(n, d)
	be.Embed(x, m.Embed, tok)
	eps := float32(m.cfg.RMSNormEps)
	for i, l := range m.Layers {
		mark := ar.Mark()
		nn.Norm(be, ar, h, x, l.InputNorm, eps, nil)
		l.Attn.Extend(be, ar, m.cfg.mla(), x, h, pos, m.rope, s.caches[i], s.len)
		nn.Norm(be, ar, h, x, l.PostNorm, eps, nil)
		if l.MLP != nil {
			l.MLP.Forward(be, ar, x, h, &nn.MLPRecord{})
		} else {
			l.MoE.Forward(be, ar, m.cfg.moe(), x, h, &nn.MoERecord{})
		}
		ar.Release(mark)
	}
	nn.Norm(be, ar, h, x, m.Norm, eps, nil)
	return h
}
