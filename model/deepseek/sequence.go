package deepseek

import (
	"fmt"
	"slices"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// sequence is one text: per layer what attention keeps of each token, in the absorbed
// form its latent key, in the expanded form (see NewRollout) every head's key and value
// and the roped key; and, where there is an indexer, its keys.
type sequence struct {
	m        *Model
	cache    *nn.Cache
	expanded bool
	len      int
	max      int
}

// NewSequence makes an empty sequence of at most maxLen tokens; Close frees it. Its
// memory grows with it.
func (m *Model) NewSequence(maxLen int) model.Sequence {
	maxLen = m.sequenceLen(maxLen)
	return &sequence{m: m, max: maxLen, cache: nn.NewCache(m.be, "a sequence's latent keys", maxLen, m.cfg.cacheWidths()...)}
}

// NewRollout makes an empty sequence whose attention has the expanded form, as Learn's
// has: so its logits are Learn's to the last bit. A token takes more memory than in
// NewSequence, and little time. The model's rollouts share their memory, which is given
// back when the last of them is closed.
func (m *Model) NewRollout(maxLen int) model.Sequence {
	if m.rollouts == nil {
		m.rollouts = nn.NewCachePool(m.be, "rollouts' keys and values", m.cfg.rolloutWidths()...)
	}
	maxLen = m.sequenceLen(maxLen)
	return &sequence{m: m, max: maxLen, expanded: true, cache: m.rollouts.NewCache(maxLen)}
}

func (m *Model) sequenceLen(maxLen int) int { return max(0, min(maxLen, m.cfg.MaxPositionEmbedding)) }

// rolloutWidths are the widths of what a token of a rollout leaves: each layer's keys
// and values, each layer's roped key, each layer's key for the indexer.
func (c *Config) rolloutWidths() []int {
	n, d := c.NumHiddenLayers, c.mla()
	out := append(slices.Repeat([]int{d.Heads * (d.Nope + d.V)}, n), slices.Repeat([]int{d.Rope}, n)...)
	if c.IndexTopK > 0 {
		out = append(out, slices.Repeat([]int{c.IndexHeadDim}, n)...)
	}
	return out
}

// cacheWidths are the widths of what a token leaves: each layer's latent, then each
// layer's key for the indexer.
func (c *Config) cacheWidths() []int {
	var out []int
	for range c.NumHiddenLayers {
		out = append(out, c.mla().Latent())
	}
	if c.IndexTopK > 0 {
		for range c.NumHiddenLayers {
			out = append(out, c.IndexHeadDim)
		}
	}
	return out
}

// Close frees the sequence's memory.
func (s *sequence) Close() { s.cache.Free() }

// Len is the number of tokens in the sequence.
func (s *sequence) Len() int { return s.len }

// Max is the number of tokens the sequence can hold.
func (s *sequence) Max() int { return s.max }

// Truncate forgets the tokens from n on.
func (s *sequence) Truncate(n int) { s.len = min(max(n, 0), s.len) }

// Fork makes the sequence the first n tokens of from, one of the same model's and kind;
// see model.Forker. It panics where from has fewer, or they do not fit.
func (s *sequence) Fork(from model.Sequence, n int) {
	f, ok := from.(*sequence)
	if !ok || f.m != s.m || f.expanded != s.expanded || n < 0 || n > f.len || n > s.max {
		panic(fmt.Sprintf("deepseek: a sequence of at most %d tokens cannot begin as the first %d of another's %d", s.max, n, from.Len()))
	}
	if f != s {
		s.cache.CopyFrom(f.cache, n)
	}
	s.len = n
}

// latent is the sequence's share of layer's rows in the absorbed form.
func (s *sequence) latent(layer int, sp model.Span) nn.LatentSeq {
	l := nn.LatentSeq{Row: sp.Row, Rows: sp.Rows, Start: sp.Start, Cache: s.cache.T(layer)}
	if n := s.m.cfg.NumHiddenLayers; s.m.cfg.IndexTopK > 0 {
		l.Keys = s.cache.T(n + layer)
	}
	return l
}

// expand is the sequence's share of layer's rows in the expanded form.
func (s *sequence) expand(layer int, sp model.Span) compute.MLASeq {
	return compute.MLASeq{Row: sp.Row, Rows: sp.Rows, Start: sp.Start, KV: s.cache.T(layer), KR: s.cache.T(s.m.cfg.NumHiddenLayers + layer)}
}
