package llama

import (
	"fmt"

	"sonde/compute"
	"sonde/model"
	"sonde/nn"
)

// SetTap shows t what crosses the model from now on; nil ends it.
func (m *Model) SetTap(t model.Tap) {
	m.shown = t != nil
	if t == nil {
		t = model.NoTap{}
	}
	m.tap = t
}

// showAttention shows what the matrices of a layer's attention met.
func (m *Model) showAttention(layer int, r *nn.GQARecord) {
	if !m.shown {
		return
	}
	name := fmt.Sprintf("model.layers.%d.self_attn.", layer)
	for _, p := range []string{"q_proj.weight", "k_proj.weight", "v_proj.weight"} {
		m.tap.Linear(name+p, r.X)
	}
	m.tap.Linear(name+"o_proj.weight", r.Out)
}

// showMLP shows what the matrices of a layer's feed-forward met.
func (m *Model) showMLP(layer int, r *nn.MLPRecord) {
	if !m.shown {
		return
	}
	name := fmt.Sprintf("model.layers.%d.mlp.", layer)
	m.tap.Linear(name+"gate_proj.weight", r.X)
	m.tap.Linear(name+"up_proj.weight", r.X)
	m.tap.Linear(name+"down_proj.weight", r.Hidden)
}

// showHead shows rows that meet the head.
func (m *Model) showHead(rows compute.Tensor) {
	head, name := m.head()
	m.tap.Linear(name, rows)
	m.tap.Logits(0, rows, head)
}
