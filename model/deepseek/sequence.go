package deepseek

import (
	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// sequence is one text being generated: the latent keys of every layer and, where
// there is an indexer, its keys.
type sequence struct {
	m     *Model
	cache *nn.Cache
	len   int
	max   int
}

// NewSequence makes an empty sequence of at most maxLen tokens; Close frees it. Its
// memory grows with it.
func (m *Model) NewSequence(maxLen int) model.Sequence {
	maxLen = min(maxLen, m.cfg.MaxPositionEmbedding)
	return &sequence{m: m, max: maxLen, cache: nn.NewCache(m.be, "a sequence's latent keys", maxLen, m.cfg.cacheWidths()...)}
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

// keys are layer's keys for the indexer, absent where there is none.
func (s *sequence) keys(layer int) compute.Tensor {
	if s.m.cfg.IndexTopK == 0 {
		return compute.Tensor{}
	}
	return s.cache.T(s.m.cfg.NumHiddenLayers + layer)
}
