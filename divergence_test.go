package sonde

import (
	"math"
	"strings"
	"testing"

	"sonde/internal/tiny"
)

func TestDiverge(t *testing.T) {
	model, ref := []float32{0, 0, 0}, []float32{float32(math.Log(0.5)), float32(math.Log(0.3)), float32(math.Log(0.2))}
	d := diverge(model, ref, 1)
	want := 0.5*math.Log(0.5*3) + 0.3*math.Log(0.3*3) + 0.2*math.Log(0.2*3)
	if math.Abs(d.kl-want) > 1e-7 || math.Abs(d.nats-math.Log(3)) > 1e-7 || math.Abs(d.refNats+math.Log(0.3)) > 1e-7 || !d.same {
		t.Errorf("%+v, expected a divergence of %v", d, want)
	}
	if d := diverge([]float32{0, 1, 0}, ref, 0); d.same {
		t.Error("another token is most probable, and it went unnoticed")
	}
	if d := diverge(ref, ref, 2); d.kl != 0 {
		t.Errorf("a model is %v from itself", d.kl)
	}
}

func TestDivergence(t *testing.T) {
	m, ref := openTiny(t, Options{}), openTiny(t, Options{Threads: 1})
	o := PerplexityOptions{Window: 90, CountFrom: 20}
	text := strings.Repeat(tiny.Text, 2)
	d, err := m.Divergence(t.Context(), ref, text, o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := m.Perplexity(t.Context(), text, o)
	if err != nil {
		t.Fatal(err)
	}
	if d.MeanKL != 0 || math.Abs(d.SameTop-1) > 1e-9 || d.Tokens != p.Tokens || math.Abs(d.Reference/p.Perplexity-1) > 1e-5 || math.Abs(d.BitsPerByte/p.BitsPerByte-1) > 1e-5 {
		t.Errorf("a model from itself: %+v, its perplexity: %+v", d, p)
	}
	other := openTiny(t, Options{})
	for _, w := range other.Network().Params() {
		if strings.HasSuffix(w.Name, "input_layernorm.weight") { // copied, so it can be changed
			other.be.Scale(w.T, 1.3)
		}
	}
	d, err = other.Divergence(t.Context(), ref, text, o)
	if err != nil || !(d.MeanKL > 0 && d.MedianKL <= d.KL99 && d.KL99 <= d.MaxKL && d.MeanKL <= d.MaxKL && d.SameTop < 1) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := m.Divergence(t.Context(), ref, text, PerplexityOptions{Window: 1000}); err == nil || !strings.Contains(err.Error(), "context of 96") {
		t.Errorf("too large a window: %v", err)
	}
}
