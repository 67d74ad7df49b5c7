package llama

import (
	"fmt"
	"slices"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// sequence is one text's keys and values.
type sequence struct {
	m     *Model
	cache *nn.Cache // per layer keys, values [rows, KVHeads*Dim]
	// rollout says that logits are those of the operation at the vocabulary, whose
	// activations are float32 whatever the head's format.
	rollout bool
	len     int
	max     int
}

// NewSequence makes an empty sequence of at most maxLen tokens, the context at most;
// Close frees it. Its memory grows with it. Where activations are rounded to 8 bits, keys
// and values are kept in 16: reading them is what a token far into a text costs most.
func (m *Model) NewSequence(maxLen int) model.Sequence {
	n, newCache := m.sequenceLen(maxLen), nn.NewCache
	if m.halfKeys() {
		newCache = nn.NewHalfCache
	}
	return &sequence{m: m, max: n, cache: newCache(m.be, "a sequence's keys and values", n, m.cacheWidths()...)}
}

// halfKeys tells whether keys and values are kept as F16.
func (m *Model) halfKeys() bool {
	q := m.Layers[0].Attn.Q
	_, block := q.DType().Block()
	return block && q.Activations() == compute.ActInt8 && m.cfg.HeadDim%8 == 0
}

func (m *Model) sequenceLen(maxLen int) int { return max(0, min(maxLen, m.cfg.MaxPositionEmbedding)) }

// cacheWidths are the widths of what a token leaves: each layer's keys and its values.
func (m *Model) cacheWidths() []int {
	return slices.Repeat([]int{m.cfg.NumKeyValueHeads * m.cfg.HeadDim}, 2*len(m.Layers))
}

// Len is the number of tokens in the sequence.
func (s *sequence) Len() int { return s.len }

// Max is the number of tokens the sequence can hold.
func (s *sequence) Max() int { return s.max }

// Truncate forgets the tokens from n on.
func (s *sequence) Truncate(n int) { s.len = max(0, min(n, s.len)) }

// Close frees the sequence's memory.
func (s *sequence) Close() { s.cache.Free() }

// chunkRows bounds the rows of one pass, and with it the memory of activations.
const chunkRows = 512

// Forward appends each part's tokens to its sequence; see model.Net. All parts' rows
// meet the weights together, up to 512 at a time; attention is each sequence's own. Where
// memory cannot be had the error is a *compute.OutOfMemory.
func (m *Model) Forward(parts []model.Part) (err error) {
	defer compute.CatchOutOfMemory(&err)
	own := func(s model.Sequence) bool { q, ok := s.(*sequence); return ok && q.m == m }
	if err := model.CheckParts(parts, m.cfg.VocabSize, own); err != nil {
		return err
	}
	if len(parts) == 0 {
		return nil
	}
	most := 0
	rollout := parts[0].Sequence.(*sequence).rollout
	for i, p := range parts {
		s := p.Sequence.(*sequence)
		if s.rollout != rollout {
			return fmt.Errorf("%w: part %d's sequence is a rollout and part 0's is not, or the other way round", model.ErrPart, i)
		}
		s.cache.Reserve(s.len+len(p.IDs), s.len)
		most = max(most, s.len+len(p.IDs))
	}
	table := m.rope.Upto(most)
	for _, c := range model.Chunks(parts, chunkRows) {
		m.work.Reset()
		m.extend(parts, c, table)
	}
	for _, p := range parts {
		p.Sequence.(*sequence).len += len(p.IDs)
	}
	return nil
}

// extend runs one chunk of rows.
func (m *Model) extend(parts []model.Part, c model.Chunk, table compute.Tensor) {
	be, ar, t, d := m.be, m.work, len(c.IDs), m.cfg.HiddenSize
	ids, pos := ar.I32(1, t), ar.I32(1, t)
	be.UploadI32(ids, c.IDs)
	be.UploadI32(pos, c.Pos)
	x, h := ar.F32(t, d), ar.F32(t, d)
	be.Embed(x, m.Embed, ids)
	m.tap.Hidden(0, x)
	for i, l := range m.Layers {
		mark := ar.Mark()
		nn.Norm(be, ar, h, x, l.InputNorm, m.eps(), nil)
		var attn nn.GQARecord
		l.Attn.Extend(be, ar, m.cfg.gqa(), x, h, pos, table, caches(parts, c, i), &attn)
		m.showAttention(i, &attn)
		nn.Norm(be, ar, h, x, l.PostNorm, m.eps(), nil)
		var mlp nn.MLPRecord
		l.MLP.Forward(be, ar, x, h, &mlp)
		m.showMLP(i, &mlp)
		ar.Release(mark)
		if i+1 < len(m.Layers) {
			m.tap.Hidden(i+1, x)
		}
	}
	nn.Norm(be, ar, h, x, m.Norm, m.eps(), nil)
	m.tap.Hidden(len(m.Layers), h)
	head, _ := m.head()
	if parts[0].Sequence.(*sequence).rollout {
		head = head.WithActivations(compute.ActF32)
	}
	c.Head(be, ar, parts, h, head, m.showHead)
}

// caches lists where the chunk's sequences keep layer's keys and values.
func caches(parts []model.Part, c model.Chunk, layer int) []compute.AttentionSeq {
	out := make([]compute.AttentionSeq, len(c.Spans))
	for i, sp := range c.Spans {
		s := parts[sp.Part].Sequence.(*sequence)
		out[i] = compute.AttentionSeq{Row: sp.Row, Rows: sp.Rows, Start: sp.Start, K: s.cache.T(2 * layer), V: s.cache.T(2*layer + 1)}
	}
	return out
}
