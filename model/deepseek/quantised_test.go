package deepseek

import (
	"slices"
	"strings"
	"testing"
	"unsafe"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
	"sonde/nn"
	"sonde/num"
)

// wideToy is a toy whose rows are whole blocks of 32.
func wideToy(c *Config) *Config {
	c.HiddenSize, c.IntermediateSize, c.MoEIntermediateSize, c.KVLoraRank, c.VHeadDim = 64, 96, 32, 32, 32
	if c.QLoraRank > 0 {
		c.QLoraRank = 32
	}
	return c
}

// quantise replaces the matrices that may be by others in blocks, those of experts by one
// tensor an expert.
func quantise(t *testing.T, m *Model, ar *compute.Arena, b num.BlockType) {
	t.Helper()
	dt, n := compute.BlockDType(b), 0
	parts := map[*compute.Tensor][]compute.Tensor{}
	for _, s := range m.Slots() {
		if s.Plain || s.Shared {
			continue
		}
		rows, cols := s.T.NumRows(), s.T.NumCols()
		v := make([]float32, rows*cols)
		m.be.DownloadF32(v, s.T)
		w := ar.Alloc(dt, rows, cols)
		b.Encode(unsafe.Slice((*byte)(w.Ptr()), rows*dt.RowBytes(cols)), v, nil)
		n++
		if s.Experts == 1 {
			*s.Field = w
			continue
		}
		parts[s.Field] = append(parts[s.Field], w)
		if s.Expert == s.Experts-1 {
			*s.Parts, *s.Field = parts[s.Field], compute.Tensor{}
		}
	}
	for _, x := range m.MTP {
		x.Embed, x.Head = m.Embed, m.Head
	}
	if n < 20 {
		t.Fatalf("only %d matrices were quantised", n)
	}
}

// TestQuantisedBase: on weights in blocks, that are only read, logits and what gradients
// remain are those of the model with the weights widened, bit for bit. So an adapter
// beside a quantised base trains as beside the widened one.
func TestQuantisedBase(t *testing.T) {
	for name, be := range testBackends(t) {
		for arch, cfg := range map[string]*Config{"V3": wideToy(toy()), "V2": wideToy(toyV2()), "V3.2": wideToy(toyV32())} {
			m, ar, b := toyModelOn(t, be, cfg)
			quantise(t, m, ar, num.Q4_1)
			wide := widened(t, m, ar)
			if !slices.Equal(feed(t, m, 12, b.Tokens[:12])[0], feed(t, wide, 12, b.Tokens[:12])[0]) {
				t.Errorf("%s, %s: other logits than with widened weights", name, arch)
			}
			o := model.StepOptions{MTPLambda: 0.3, AuxAlpha: 0.01, Scale: 1}
			got, want := m.Twin(ar), wide.Twin(ar)
			r1, r2 := m.LossAndGrad(ar, b, got, o), wide.LossAndGrad(ar, b, want, o)
			if r1.Loss != r2.Loss || r1.MTPLoss != r2.MTPLoss {
				t.Errorf("%s, %s: losses %v and %v, expected %v and %v", name, arch, r1.Loss, r1.MTPLoss, r2.Loss, r2.MTPLoss)
			}
			kept := byName(want)
			for name, g := range byName(got) {
				if !slices.Equal(g.Float32s(), kept[name].Float32s()) {
					t.Errorf("%s: another gradient of %s", arch, name)
				}
			}
			if len(byName(got)) == 0 {
				t.Errorf("%s: no gradients remain", arch)
			}
		}
	}
}

func byName(m *Model) map[string]compute.Tensor {
	out := map[string]compute.Tensor{}
	for _, p := range m.Params() {
		out[p.Name] = p.T
	}
	return out
}

// widened is m with its weights in float32.
func widened(t *testing.T, m *Model, ar *compute.Arena) *Model {
	wide := New(m.cfg, m.be, ar)
	theirs := byName(wide)
	for _, p := range m.Params() {
		v := make([]float32, p.T.Len())
		m.be.DownloadF32(v, p.T)
		m.be.UploadF32(theirs[p.Name], v)
	}
	return wide
}

// TestQuantisedSideBySide: with rows quantised to int8 too a text's bits do not depend on
// what is beside it or on how it is cut.
func TestQuantisedSideBySide(t *testing.T) {
	be, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer be.Close()
	m, ar, b := toyModelOn(t, be, wideToy(toyV32()))
	quantise(t, m, ar, num.Q8_0)
	nn.Walk(m, "", false, func(p nn.Param, field *compute.Tensor, _ bool) {
		if !field.IsZero() {
			*field = field.WithActivations(compute.ActInt8)
		}
	})
	for _, l := range m.Layers {
		if l.MoE != nil {
			for _, parts := range [][]compute.Tensor{l.MoE.GateParts, l.MoE.UpParts, l.MoE.DownParts} {
				for e := range parts {
					parts[e] = parts[e].WithActivations(compute.ActInt8)
				}
			}
		}
	}
	texts := [][]int32{b.Tokens[:12], b.Tokens[12:24], b.Tokens[24:31]}
	for i, got := range feed(t, m, 5, texts...) {
		if alone := feed(t, m, 12, texts[i])[0]; !slices.Equal(got, alone) {
			t.Errorf("text %d has other bits beside the others", i)
		}
	}
	var names []string
	tap := linearNames{names: &names}
	m.SetTap(tap)
	feed(t, m, 12, texts[0])
	for _, p := range m.Params() {
		if p.Shape[0] > 1 && len(p.Shape) == 2 && !p.Shared && !strings.Contains(p.Name, "embed") && !strings.HasPrefix(p.Name, "model.layers.3.") &&
			!strings.HasPrefix(p.Name, "model.layers.4.") && !slices.Contains(names, p.Name) {
			t.Errorf("the tap was not shown what %s met", p.Name)
		}
	}
}

// linearNames notes the matrices that a tap is shown.
type linearNames struct {
	model.NoTap
	names *[]string
}

func (l linearNames) Linear(name string, _ compute.Tensor) { *l.names = append(*l.names, name) }
