package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"sonde/compute"
	"sonde/model/lora"
)

// SaveAdapter writes the adapters of m to the folder dir as PEFT does, in F32. base is
// where their model is: a folder, a file, or a name on the hub. What was there before
// stays until everything is written; the error is a *SaveError.
func SaveAdapter(dir string, m *lora.Model, base string) error {
	if err := makeDir(dir); err != nil {
		return &SaveError{File: dir, Err: err}
	}
	config, err := json.MarshalIndent(describeAdapter(m, base), "", "  ")
	if err != nil {
		return fmt.Errorf("saving %s: %w", dir, err)
	}
	r := &replacement{dir: dir}
	err = r.write(adapterWeights, func(w io.Writer) error { return writeTensors(w, adapterTensors(m), ptMetadata) })
	if err == nil {
		err = r.write(adapterConfig, writeBytes(append(config, '\n')))
	}
	if err == nil {
		err = r.commit()
	}
	if err != nil {
		file := dir
		if len(r.names) > 0 {
			file = filepath.Join(dir, r.names[len(r.names)-1])
		}
		r.discard()
		return &SaveError{File: file, Err: err}
	}
	return nil
}

// describeAdapter is adapter_config.json.
func describeAdapter(m *lora.Model, base string) peftConfig {
	o := m.Options()
	c := peftConfig{Type: "LORA", Base: &base, Rank: o.Rank, Alpha: o.AlphaOrDefault(), RSLoRA: o.RSLoRA, Ranks: o.Ranks, Alphas: o.Alphas,
		Bias: "none", Targets: adapterTargets(m), Task: "CAUSAL_LM", Inference: true, Init: true}
	if c.Ranks == nil {
		c.Ranks = map[string]int{}
	}
	if c.Alphas == nil {
		c.Alphas = map[string]float64{}
	}
	return c
}

// adapterTargets names the adapted layers: by the last parts of their names where these
// mean the same layers to PEFT, else by whole names. In a mixture of experts the last
// parts would mean the routed experts too.
func adapterTargets(m *lora.Model) []string {
	var short, whole []string
	for _, a := range m.Adapters() {
		whole = append(whole, a.Module)
		if last := a.Module[strings.LastIndexByte(a.Module, '.')+1:]; !slices.Contains(short, last) {
			short = append(short, last)
		}
	}
	meant := 0
	for _, p := range m.Params() {
		module, ok := strings.CutSuffix(p.Name, ".weight")
		if ok && slices.Contains(short, module[strings.LastIndexByte(module, '.')+1:]) {
			meant++
		}
	}
	if meant == len(whole) {
		return short
	}
	return whole
}

// adapterTensors are A and B of every adapter in the files' order of rows.
func adapterTensors(m *lora.Model) []outTensor {
	var out []outTensor
	for _, a := range m.Adapters() {
		out = append(out, adapterTensor(m, a.NameA(), a.A, 0), adapterTensor(m, a.NameB(), a.B, rowHeads(m, a.Module)))
	}
	return out
}

func adapterTensor(m *lora.Model, name string, t compute.Tensor, heads int) outTensor {
	x := rows{name: name, rows: t.NumRows(), cols: t.NumCols(), dtype: F32}
	x.read = func(dst []float32, from, n int) error {
		m.Backend().DownloadF32(dst, t.Rows(from, from+n))
		return nil
	}
	if heads > 0 {
		x = x.halves(heads)
	}
	return outTensor{name, F32, []int{x.rows, x.cols}, func(w io.Writer) error {
		v, raw := make([]float32, x.cols), make([]byte, 4*x.cols)
		for i := range x.rows {
			if err := x.read(v, i, 1); err != nil {
				return err
			}
			for j, f := range v {
				binary.LittleEndian.PutUint32(raw[4*j:], math.Float32bits(f))
			}
			if _, err := w.Write(raw); err != nil {
				return err
			}
		}
		return nil
	}}
}
