package engine

import (
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/text"
)

// New makes an engine over a DeepSeek-V3 model with the default limits. The engine
// does not own the model: close the model after the last call has returned.
func New(m *deepseek.Model, t *text.Tokenizer) *Engine { return NewLimited(m, t, Limits{}) }

// NewLimited is New with limits.
func NewLimited(m *deepseek.Model, t *text.Tokenizer, lim Limits) *Engine {
	return Of(latent{m}, tokens{t}, lim)
}

// latent makes sequences with MLA's latent cache (arXiv 2405.04434, section 2.1).
type latent struct{ m *deepseek.Model }

func (l latent) NewSequence(maxLen int) Sequence { return &latentSequence{l.m, l.m.NewSequence(maxLen)} }
func (l latent) Context() int                    { return l.m.Config().MaxPositionEmbedding }
func (l latent) Vocab() int                      { return l.m.Config().VocabSize }

type latentSequence struct {
	m *deepseek.Model
	s model.Sequence
}

func (q *latentSequence) Extend(ids []int32) ([]float32, error) {
	return q.forward(ids, model.WantLast)
}

func (q *latentSequence) ExtendAll(ids []int32) ([]float32, error) {
	return q.forward(ids, model.WantAll)
}

func (q *latentSequence) forward(ids []int32, w model.Want) ([]float32, error) {
	p := []model.Part{{Sequence: q.s, IDs: ids, Want: w}}
	err := q.m.Forward(p)
	return p[0].Logits, err
}

func (q *latentSequence) Close() { q.s.Close() }

type tokens struct{ *text.Tokenizer }

func (t tokens) NewDecoder() Decoder { return t.NewStream() }
