package train

import (
	"encoding/json"
	"slices"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/internal/learncheck"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/model/llama"
	"sonde/nn"
)

// learners are models of both architectures with matrices of a format.
func learners(t *testing.T, be compute.Backend, dt compute.DType) map[string]model.Learner {
	t.Helper()
	ar := be.NewArena("weights")
	t.Cleanup(ar.Free)
	d := &deepseek.Config{VocabSize: 40, HiddenSize: 16, IntermediateSize: 24, MoEIntermediateSize: 8, NumHiddenLayers: 2, NumAttentionHeads: 2, NumKeyValueHeads: 2,
		NSharedExperts: 1, NRoutedExperts: 4, RoutedScalingFactor: 1, KVLoraRank: 8, QKRopeHeadDim: 4, QKNopeHeadDim: 4, VHeadDim: 4, NGroup: 1, TopKGroup: 1,
		NumExpertsPerTok: 2, FirstKDenseReplace: 1, NormTopKProb: true, MaxPositionEmbedding: 64, InitializerRange: 0.1, RMSNormEps: 1e-6, Rope: model.Rope{Theta: 10000}}
	l := &llama.Config{Class: "LlamaForCausalLM", VocabSize: 40, HiddenSize: 16, IntermediateSize: 24, NumHiddenLayers: 2, NumAttentionHeads: 2, NumKeyValueHeads: 1,
		HeadDim: 8, MaxPositionEmbedding: 64, InitializerRange: 0.1, RMSNormEps: 1e-6, TieEmbeddings: true, Rope: model.Rope{Theta: 10000}, BOSTokenID: -1}
	return map[string]model.Learner{"deepseek": deepseek.NewWith(d, be, ar, dt), "llama": llama.NewWith(l, be, ar, dt)}
}

// learn does some steps on one text and returns the last loss.
func learn(t *testing.T, l model.Learner, o *Optimizer, steps int) float64 {
	t.Helper()
	ar := l.Backend().NewArena("activations")
	defer ar.Free()
	p := learncheck.Pack(learncheck.Texts(5, 3, 20, 40)...)
	coef := make([]float32, len(p.Tokens))
	for i, id := range p.Targets {
		if id >= 0 {
			coef[i] = -1 / float32(model.CountTargets(p.Targets))
		}
	}
	loss := 0.0
	for range steps {
		ar.Reset()
		pass := l.Learn(ar, p, model.StepOptions{Scale: 1, AuxAlpha: 1e-3})
		pass.Backward(coef, o.Grads())
		logp, _ := pass.LogProbs()
		loss = 0
		for i := range logp {
			loss += float64(coef[i]) * float64(logp[i])
		}
		o.Step(0.01, 0.1, min(1, 1/o.GradNorm()))
		model.UpdateBiases(l, pass.Loads(), 0.01)
	}
	return loss
}

// TestOptimizerGoesOn: with weights in either format, what is saved after some steps goes
// on in a fresh model with the bits of the run that never stopped, biases included.
func TestOptimizerGoesOn(t *testing.T) {
	be, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	for _, dt := range []compute.DType{compute.F32, compute.BF16} {
		first, second := learners(t, be, dt), learners(t, be, dt)
		for name, l := range first {
			o := NewOptimizer(l)
			defer o.Free()
			o.Init(1)
			begun := learn(t, l, o, 1)
			learn(t, l, o, 20)
			dir := t.TempDir()
			if err := checkpoint.SaveState(dir, 3, o.State(json.RawMessage(`{"of":"the caller"}`))); err != nil {
				t.Fatal(err)
			}
			ended := learn(t, l, o, 20)
			if !(ended < begun/2) || o.Steps() != 41 {
				t.Errorf("%s in %v: loss %.3f after %.3f, %d steps", name, dt, ended, begun, o.Steps())
			}
			m := second[name]
			p := NewOptimizer(m)
			defer p.Free()
			p.Init(2)
			s, err := checkpoint.LoadLatest(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = p.Load(s)
			s.Close()
			if err != nil || string(s.Values) != `{"of":"the caller"}` {
				t.Fatalf("%v, values %s", err, s.Values)
			}
			p.SetSteps(21)
			if got := learn(t, m, p, 20); got != ended || !slices.Equal(everything(l), everything(m)) {
				t.Errorf("%s in %v: loss %v after a resume, %v without", name, dt, got, ended)
			}
		}
	}
}

// everything is all weights of a model, buffers included.
func everything(m model.Net) []float32 {
	var out []float32
	ar := m.Backend().NewArena("copy")
	defer ar.Free()
	for _, p := range m.Params() {
		t := ar.F32(p.T.NumRows(), p.T.NumCols())
		m.Backend().Copy(t, p.T)
		v := make([]float32, t.Len())
		m.Backend().DownloadF32(v, t)
		out = append(out, v...)
	}
	return out
}

// TestOptimizerKeepsLoadedWeights: masters begin as the weights are, and a step without
// gradient and decay changes none.
func TestOptimizerKeepsLoadedWeights(t *testing.T) {
	be, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	for name, l := range learners(t, be, compute.BF16) {
		l.(model.Drawn).Init(7)
		before := everything(l)
		o := NewOptimizer(l)
		defer o.Free()
		o.ZeroGrads()
		o.Step(0.1, 0, 1)
		if !slices.Equal(before, everything(l)) {
			t.Errorf("%s: a step without gradient changed the weights", name)
		}
	}
}

// TestOptimizerStateNames: experts are saved one by one, as a model's file has them.
func TestOptimizerStateNames(t *testing.T) {
	be := compute.NewReference()
	l := learners(t, be, compute.F32)["deepseek"]
	l.(model.Drawn).Init(1)
	o := NewOptimizer(l)
	defer o.Free()
	s := o.State(nil)
	names := func(params []nn.Param) (out []string) {
		for _, p := range params {
			out = append(out, p.Name)
		}
		return out
	}
	masters, moments := names(s.Weights), names(s.Moments)
	for _, name := range []string{"model.embed_tokens.weight", "model.layers.1.mlp.experts.3.up_proj.weight", "model.layers.1.mlp.gate.e_score_correction_bias"} {
		if !slices.Contains(masters, name) {
			t.Errorf("no %s among the weights", name)
		}
		if has := slices.Contains(moments, "m."+name) && slices.Contains(moments, "v."+name); has != (name != "model.layers.1.mlp.gate.e_score_correction_bias") {
			t.Errorf("moments of %s: %v", name, has)
		}
	}
}
