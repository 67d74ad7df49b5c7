package sonde

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/model"
	"sonde/model/auto"
	"sonde/num"
	"sonde/text"
)

// Inspection is what a model's files say of it.
type Inspection struct {
	Path         string       `json:"path"`
	Files        string       `json:"files"` // "safetensors" or "gguf"
	Architecture string       `json:"architecture"`
	Params       int64        `json:"params"`
	Active       int64        `json:"active_params"`
	Layers       int          `json:"layers"`
	Hidden       int          `json:"hidden"`
	Vocab        int          `json:"vocab"`
	Context      int          `json:"context"`
	Types        []TypeUse    `json:"types"`
	Memory       MemoryNeed   `json:"memory"`
	Template     string       `json:"chat_template"` // "" where there is none
	Known        bool         `json:"chat_template_known"`
	Slow         []string     `json:"slow"`
	Warnings     []string     `json:"warnings"`
	Tensors      []TensorInfo `json:"tensors"`
}

// TypeUse is how much of a model is in one format.
type TypeUse struct {
	Type    string `json:"type"`
	Tensors int    `json:"tensors"`
	Bytes   int64  `json:"bytes"`
}

// TensorInfo is one tensor.
type TensorInfo struct {
	Name  string `json:"name"` // Hugging Face's
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

// MemoryNeed is what one text of Context tokens needs, in bytes.
type MemoryNeed struct {
	Context int   `json:"context"`
	Weights int64 `json:"weights"` // mapped from the files
	Keys    int64 `json:"kv_cache"`
	Total   int64 `json:"total"`
	Machine int64 `json:"machine"` // 0 where not known
}

// Inspect looks at the model at path without reading its weights. context is the
// length of text to reckon the memory for; 0 means the model's own.
func Inspect(path string, context int, o Options) (*Inspection, error) {
	path, err := Locate(path)
	if err != nil {
		return nil, err
	}
	act, err := activations(o.Activations)
	if err != nil {
		return nil, err
	}
	s, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	m := &Model{src: s}
	if err := m.read(""); err != nil && !errors.Is(err, ErrNoModel) && !errors.Is(err, text.ErrNoVocabulary) {
		return nil, err
	}
	if m.cfg == nil {
		if m.cfg, m.warnings, err = auto.ParseConfig(s.Config); err != nil {
			return nil, err
		}
	}
	be, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer be.Close()
	return m.inspect(context, be, act)
}

func (m *Model) inspect(context int, be *cpu.Backend, act compute.Activations) (*Inspection, error) {
	c := m.cfg
	if context == 0 {
		context = c.Context()
	}
	if context < 1 || context > c.Context() {
		return nil, fmt.Errorf("a text of %d tokens: the model's context is 1 to %d tokens", context, c.Context())
	}
	i := &Inspection{Path: m.src.Path, Files: string(m.src.Kind), Architecture: c.Architecture(), Params: c.TotalParams(), Active: c.ActiveParams(),
		Layers: c.Layers(), Hidden: c.Hidden(), Vocab: c.Vocab(), Context: c.Context(), Warnings: m.warnings}
	i.count(m.src.Tensors())
	i.Memory = MemoryNeed{Context: context, Keys: int64(context) * c.KVBytesPerToken(), Machine: checkpoint.MachineMemory()}
	for _, t := range i.Types {
		i.Memory.Weights += t.Bytes
	}
	i.Memory.Total = i.Memory.Weights + i.Memory.Keys
	i.template(m.tokCfg)
	i.slowness(c, be, act)
	return i, nil
}

// count sums up the tensors by format, the largest share first.
func (i *Inspection) count(tensors []checkpoint.Info) {
	uses := map[string]*TypeUse{}
	for _, x := range tensors {
		u := uses[string(x.DType)]
		if u == nil {
			u = &TypeUse{Type: string(x.DType)}
			uses[u.Type] = u
		}
		u.Tensors++
		u.Bytes += x.Bytes
		i.Tensors = append(i.Tensors, TensorInfo{x.Name, string(x.DType), x.Shape, x.Bytes})
	}
	for _, u := range uses {
		i.Types = append(i.Types, *u)
	}
	slices.SortFunc(i.Types, func(a, b TypeUse) int { return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Type, b.Type)) })
}

// template says which chat template the model has.
func (i *Inspection) template(c *text.TokenizerConfig) {
	if c == nil || c.ChatTemplate == "" {
		return
	}
	name, err := c.Template()
	if err != nil {
		i.Template = "one that does not run: " + err.Error()
		return
	}
	i.Template, i.Known = name, name != text.ForeignTemplate
}

// slowness lists what will be slow on this machine, and why.
func (i *Inspection) slowness(c model.Config, be *cpu.Backend, act compute.Activations) {
	say := func(format string, args ...any) { i.Slow = append(i.Slow, fmt.Sprintf(format, args...)) }
	if be.Name() == "generic" {
		say("this processor has none of the vector units that Sonde has kernels for: everything runs in plain Go")
	}
	for _, t := range i.Types {
		dt, ok := computeType(t.Type)
		if share := float64(t.Bytes) / float64(max(1, i.Memory.Weights)); ok && be.Name() != "generic" && share > 0.01 && !be.Fast(dt, act) {
			say("%s, %.0f %% of the weights, has no kernel of its own here and is unpacked in plain Go: quantise to Q4_K_M or Q8_0 for speed", t.Type, 100*share)
		}
	}
	need := i.Memory
	if need.Machine == 0 {
		return
	}
	active := int64(float64(need.Weights) * float64(c.ActiveParams()) / float64(max(1, c.TotalParams())))
	switch {
	case active > need.Machine:
		say("the weights that every token needs take %s and this machine has %s of memory: they are read from the disk again for every token", Bytes(active), Bytes(need.Machine))
	case need.Weights > need.Machine:
		say("the weights take %s and this machine has %s of memory: experts are read from the disk as they are chosen", Bytes(need.Weights), Bytes(need.Machine))
	case need.Total > need.Machine:
		say("a text of %d tokens takes %s beside the weights, more than this machine's %s hold: choose a shorter context", need.Context, Bytes(need.Keys), Bytes(need.Machine))
	}
}

// computeType is the format of a file's tensor as operations know it.
func computeType(name string) (compute.DType, bool) {
	for _, dt := range []compute.DType{compute.F32, compute.BF16, compute.F16, compute.E4M3} {
		if dt.String() == name {
			return dt, true
		}
	}
	b, ok := checkpoint.DType(name).Block()
	return compute.BlockDType(num.BlockType(b)), ok
}

// Bytes shows a size for people.
func Bytes(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}
