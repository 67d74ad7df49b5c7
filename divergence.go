package sonde

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"sonde/engine"
	"sonde/model"
)

// Divergence is how far a model's predictions are from those of a reference, such as
// the model that it was quantised from, over the tokens of a text that count.
type Divergence struct {
	Perplexity
	// Reference is the reference's own perplexity.
	Reference float64 `json:"reference_perplexity"`
	// MeanKL and the others are of the Kullback-Leibler divergence of the reference's
	// distribution from the model's at each token, in nats.
	MeanKL   float64 `json:"mean_kl"`
	MedianKL float64 `json:"median_kl"`
	KL99     float64 `json:"kl_99_percent"` // of 99 tokens in 100 it is less
	MaxKL    float64 `json:"max_kl"`
	// SameTop is the share of tokens at which both find the same one most probable.
	SameTop float64 `json:"same_top"`
}

// divergencePiece is how many tokens both models read between two comparisons: their
// logits are held at the same time.
const divergencePiece = 64

// Divergence measures the model and ref on text, see Perplexity. Both have one
// vocabulary.
func (m *Model) Divergence(ctx context.Context, ref *Model, text string, o PerplexityOptions) (d Divergence, err error) {
	for _, x := range []*Model{m, ref} {
		leave, err := x.enter()
		if err != nil {
			return d, err
		}
		defer leave()
	}
	if m.cfg.Vocab() != ref.cfg.Vocab() {
		return d, fmt.Errorf("the model has %d tokens and the reference %d; they must be of one vocabulary", m.cfg.Vocab(), ref.cfg.Vocab())
	}
	var begin []int32
	if o.BOS {
		if m.tok.BOS() < 0 {
			return d, errors.New("this model's tokenizer has no beginning-of-text token; measure without it")
		}
		begin = []int32{m.tok.BOS()}
	}
	ids := m.tok.Encode(text)
	if !slices.Equal(ids, ref.tok.Encode(text)) {
		return d, errors.New("the model and the reference cut the text into different tokens; they must be of one vocabulary")
	}
	windows, err := cut(begin, ids, min(m.cfg.Context(), ref.cfg.Context()), o)
	if err != nil {
		return d, err
	}
	return m.compare(ctx, ref, windows, o.Progress)
}

// compare reads the windows with both models.
func (m *Model) compare(ctx context.Context, ref *Model, windows []window, progress func(int, int)) (d Divergence, err error) {
	total, bytes := 0, 0
	for _, w := range windows {
		total += len(w.targets) - w.from
		bytes += len(m.tok.DecodeBytes(w.targets[w.from:]))
	}
	var all []distributions
	for _, w := range windows {
		if all, err = m.compareWindow(ctx, ref, w, all); err != nil {
			return d, err
		}
		if progress != nil {
			progress(len(all), total)
		}
	}
	return summary(all, bytes)
}

// compareWindow appends what is found at the tokens of w that count.
func (m *Model) compareWindow(ctx context.Context, ref *Model, w window, all []distributions) ([]distributions, error) {
	var seqs [2]model.Sequence
	for i, x := range []*Model{m, ref} {
		if err := x.eng.Use(ctx, func() error { seqs[i] = x.net.NewSequence(len(w.tokens)); return nil }); err != nil {
			return all, err
		}
		defer x.eng.Use(context.WithoutCancel(ctx), func() error { seqs[i].Close(); return nil })
	}
	vocab := m.cfg.Vocab()
	for at := 0; at < len(w.tokens); at += divergencePiece {
		to := min(at+divergencePiece, len(w.tokens))
		var logits [2][]float32
		for i, x := range []*Model{m, ref} {
			p := []model.Part{{Sequence: seqs[i], IDs: w.tokens[at:to], Want: model.WantAll}}
			if err := x.eng.Use(ctx, func() error { return x.net.Forward(p) }); err != nil {
				return all, err
			}
			logits[i] = p[0].Logits
		}
		first := max(at, w.from)
		if first >= to {
			continue
		}
		all = append(all, make([]distributions, to-first)...)
		news := all[len(all)-(to-first):]
		var wg sync.WaitGroup
		for _, rows := range share(len(news), runtime.GOMAXPROCS(0)) {
			wg.Go(func() {
				for i := rows[0]; i < rows[1]; i++ {
					row := (first + i - at) * vocab
					news[i] = diverge(logits[0][row:row+vocab], logits[1][row:row+vocab], w.targets[first+i])
				}
			})
		}
		wg.Wait()
	}
	return all, nil
}

// share divides n things among so many.
func share(n, among int) (parts [][2]int) {
	step := (n + among - 1) / among
	for at := 0; at < n; at += step {
		parts = append(parts, [2]int{at, min(at+step, n)})
	}
	return parts
}

// distributions are two models' opinions of one token: the nats that each gives the
// right one, their divergence, and whether the same one comes first.
type distributions struct {
	nats, refNats, kl float64
	same              bool
}

func diverge(model, ref []float32, target int32) (d distributions) {
	lse, refLSE := logSumExp(model), logSumExp(ref)
	top, refTop := 0, 0
	for i, r := range ref {
		if model[i] > model[top] {
			top = i
		}
		if r > ref[refTop] {
			refTop = i
		}
		logp := float64(r) - refLSE
		d.kl += math.Exp(logp) * (logp - (float64(model[i]) - lse))
	}
	d.nats, d.refNats = lse-float64(model[target]), refLSE-float64(ref[target])
	d.kl, d.same = max(d.kl, 0), top == refTop // rounding may make nothing a little less
	return d
}

func logSumExp(x []float32) float64 {
	most, sum := float64(slices.Max(x)), 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - most)
	}
	return most + math.Log(sum)
}

// summary sums up what was found at each token.
func summary(all []distributions, bytes int) (d Divergence, err error) {
	n := float64(len(all))
	kl := make([]float64, len(all))
	nats, ref := 0.0, 0.0
	for i, x := range all {
		nats, ref, kl[i] = nats+x.nats, ref+x.refNats, x.kl
		d.MeanKL += x.kl / n
		if x.same {
			d.SameTop += 1 / n
		}
	}
	if math.IsNaN(nats+ref) || math.IsInf(nats+ref, 0) {
		return d, engine.ErrNotFinite
	}
	slices.Sort(kl)
	d.MedianKL, d.KL99, d.MaxKL = kl[len(kl)/2], kl[len(kl)*99/100], kl[len(kl)-1]
	d.Tokens, d.NatsPerToken = len(all), nats/n
	d.Perplexity.Perplexity, d.Reference = math.Exp(nats/n), math.Exp(ref/n)
	d.BitsPerByte = nats / math.Ln2 / float64(max(bytes, 1))
	return d, nil
}
