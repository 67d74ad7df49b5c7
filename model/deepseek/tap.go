package deepseek

import (
	"strconv"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// SetTap shows t what crosses the model from now on; nil ends it.
func (m *Model) SetTap(t model.Tap) { m.tap = t }

func (m *Model) showHidden(i int, x compute.Tensor) {
	if m.tap != nil {
		m.tap.Hidden(i, x)
	}
}

// showLogits shows rows h that meet the head of module i: 0 is the main model.
func (m *Model) showLogits(i int, h compute.Tensor) {
	if m.tap != nil {
		m.tap.Logits(i, h, m.Head)
		m.tap.Linear("lm_head.weight", h)
	}
}

func layerName(i int) string { return "model.layers." + strconv.Itoa(i) }

// showAttention shows what the matrices of layer i's attention met.
func (m *Model) showAttention(l *Layer, i int, rec *layerRecord) {
	if m.tap == nil {
		return
	}
	a, name := &rec.attn, layerName(i)+".self_attn."
	for _, w := range []struct {
		name  string
		w, in compute.Tensor
	}{
		{"q_proj", l.Attn.Q, a.X}, {"q_a_proj", l.Attn.QA, a.X}, {"q_b_proj", l.Attn.QB, a.QAN}, {"kv_a_proj_with_mqa", l.Attn.KVA, a.X},
		{"kv_b_proj", l.Attn.KVB, a.CKV}, {"o_proj", l.Attn.O, a.Out},
	} {
		if !w.w.IsZero() {
			m.tap.Linear(name+w.name+".weight", w.in)
		}
	}
}

// watchIndexer has the tap shown what layer i's indexer meets and picks, in time to
// change the picks.
func (m *Model) watchIndexer(i int, rec *layerRecord) {
	if m.tap == nil {
		return
	}
	a, name := &rec.attn, layerName(i)+".self_attn.indexer"
	a.Chosen = func() {
		m.tap.Linear(name+".wq_b.weight", a.QAN)
		m.tap.Linear(name+".wk.weight", a.X)
		m.tap.Linear(name+".weights_proj.weight", a.X)
		m.tap.Index(name, a.Picks)
	}
}

// showFeedForward shows what the matrices of layer i's second half met.
func (m *Model) showFeedForward(l *Layer, i int, rec *layerRecord) {
	if m.tap == nil {
		return
	}
	name := layerName(i) + ".mlp."
	if l.MLP != nil {
		m.showMLP(name, &rec.mlp)
		return
	}
	m.tap.Route(name+"gate", rec.moe.Route)
	m.tap.Linear(name+"gate.weight", rec.moe.X)
	if l.MoE.Shared != nil {
		m.showMLP(name+"shared_experts.", &rec.moe.Shared)
	}
	m.showExperts(name, &rec.moe)
}

func (m *Model) showMLP(name string, rec *nn.MLPRecord) {
	m.tap.Linear(name+"gate_proj.weight", rec.X)
	m.tap.Linear(name+"up_proj.weight", rec.X)
	m.tap.Linear(name+"down_proj.weight", rec.Hidden)
}

// showExperts shows each routed expert's rows. What enters down_proj has the router's
// weight in it.
func (m *Model) showExperts(name string, rec *nn.MoERecord) {
	ar := m.be.NewArena("rows of experts, for a tap")
	defer ar.Free()
	offsets := make([]int32, rec.Route.Offsets.NumCols())
	m.be.DownloadI32(offsets, rec.Route.Offsets)
	for e := range len(offsets) - 1 {
		var in, hidden compute.Tensor
		if from, to := int(offsets[e]), int(offsets[e+1]); from < to {
			ar.Reset()
			in = ar.F32(to-from, rec.X.NumCols())
			m.be.Embed(in, rec.X, rec.Route.Token.Cols(from, to)) // gathers rows
			hidden = rec.Hidden.Rows(from, to)
		}
		expert := name + "experts." + strconv.Itoa(e)
		m.tap.Linear(expert+".gate_proj.weight", in)
		m.tap.Linear(expert+".up_proj.weight", in)
		m.tap.Linear(expert+".down_proj.weight", hidden)
	}
}
