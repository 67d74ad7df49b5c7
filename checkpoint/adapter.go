package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sonde/compute"
	"sonde/model"
	"sonde/model/llama"
	"sonde/model/lora"
)

// The files of an adapter, as PEFT lays them out.
const (
	adapterConfig  = "adapter_config.json"
	adapterWeights = "adapter_model.safetensors"
)

// The ends of PEFT's names.
const (
	loraA = ".lora_A.weight"
	loraB = ".lora_B.weight"
)

// Adapter is the files of a low-rank adapter in PEFT's layout, opened: headers are read
// and checked, weights are still on disk. Close closes them.
type Adapter struct {
	Path string
	// Base is base_model_name_or_path: a folder, a file or a name on the hub; "" where the
	// files do not say it.
	Base string
	// Options are how the adapters were made; Targets are the adapted layers by name.
	Options lora.Options

	weights tensorSet
}

// IsAdapter reports whether path is a folder with an adapter and no model.
func IsAdapter(path string) bool {
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	return there(adapterConfig) && !there("config.json")
}

// OpenAdapter opens the folder dir with adapter_config.json and adapter_model.safetensors.
// Kinds of adapters that are not LoRA over linear layers are refused by name.
func OpenAdapter(dir string) (*Adapter, error) {
	a := &Adapter{Path: dir, weights: tensorSet{path: dir}}
	if err := a.open(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close closes the files.
func (a *Adapter) Close() error { return a.weights.close() }

func (a *Adapter) open() error {
	raw, err := readMember(a.Path, adapterConfig, maxJSON)
	if err != nil {
		return err
	}
	path := filepath.Join(a.Path, adapterConfig)
	if raw == nil {
		return &FormatError{Path: path, Problem: "does not exist", Try: "name the folder of an adapter, with " + adapterConfig + " and " + adapterWeights, Err: os.ErrNotExist}
	}
	if err := a.readConfig(raw); err != nil {
		return &FormatError{Path: path, Problem: err.Error(), Try: "only LoRA over linear layers is read"}
	}
	f, err := openMember(a.Path, adapterWeights)
	if errors.Is(err, os.ErrNotExist) {
		try := "fetch the missing file"
		if _, err := os.Stat(filepath.Join(a.Path, "adapter_model.bin")); err == nil {
			try = pickleHint
		}
		return &FormatError{Path: filepath.Join(a.Path, adapterWeights), Problem: "does not exist", Try: try, Err: os.ErrNotExist}
	}
	if err != nil {
		return err
	}
	if err := a.weights.add(newFile(filepath.Join(a.Path, adapterWeights), f)); err != nil {
		return err
	}
	return a.findModules()
}

// peftConfig is adapter_config.json.
type peftConfig struct {
	Type    string             `json:"peft_type"`
	Base    *string            `json:"base_model_name_or_path"`
	Rank    int                `json:"r"`
	Alpha   float64            `json:"lora_alpha"`
	RSLoRA  bool               `json:"use_rslora"`
	Ranks   map[string]int     `json:"rank_pattern"`
	Alphas  map[string]float64 `json:"alpha_pattern"`
	Bias    string             `json:"bias"`
	Targets any                `json:"target_modules"`

	Task      string  `json:"task_type"`
	FanIn     bool    `json:"fan_in_fan_out"`
	Inference bool    `json:"inference_mode"`
	Init      any     `json:"init_lora_weights"` // true, or the name of a way to draw A and B
	Dropout   float64 `json:"lora_dropout"`
}

// plainKeys are the keys that a plain adapter may have whatever their values: they are
// read, or concern training alone.
var plainKeys = []string{"peft_type", "base_model_name_or_path", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "bias",
	"target_modules", "task_type", "inference_mode", "init_lora_weights", "lora_dropout", "auto_mapping", "revision", "peft_version",
	"exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size", "loftq_config", "ensure_weight_tying",
	"eva_config", "corda_config", "lora_ga_config"}

// readConfig reads adapter_config.json. Keys that are not known must be at rest: null,
// false, zero or empty.
func (a *Adapter) readConfig(raw []byte) error {
	var c peftConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return fmt.Errorf("is not the configuration of an adapter: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	for key, value := range all {
		switch string(bytes.TrimSpace(value)) {
		case "null", "false", "0", "0.0", `""`, "[]", "{}":
			continue
		}
		if !slices.Contains(plainKeys, key) {
			return fmt.Errorf("%s is %s, which this program does not know to apply", quote(key), quote(string(value)))
		}
	}
	switch {
	case c.Type != "LORA":
		return fmt.Errorf("peft_type is %s, expected LORA", quote(c.Type))
	case c.Bias != "" && c.Bias != "none":
		return fmt.Errorf("bias is %s, expected none: trained biases are not read", quote(c.Bias))
	case !keepsBase(c.Init):
		return fmt.Errorf("init_lora_weights is %s, which changes the model's own weights too: have PEFT save the adapter converted (path_initial_model_for_weight_conversion)", quote(fmt.Sprint(c.Init)))
	case !(c.Alpha > 0):
		return fmt.Errorf("lora_alpha is %v, expected a positive number", c.Alpha)
	}
	if c.Base != nil {
		a.Base = *c.Base
	}
	a.Options = lora.Options{Rank: c.Rank, Alpha: c.Alpha, RSLoRA: c.RSLoRA, Ranks: c.Ranks, Alphas: c.Alphas}
	return a.Options.Validate()
}

// keepsBase reports whether adapters drawn in the way init names leave the weights beside
// them as they are. PiSSA, OLoRA, CorDA and LoftQ do not.
func keepsBase(init any) bool {
	name, named := init.(string)
	return !named || slices.Contains([]string{"gaussian", "eva", "orthogonal"}, strings.ToLower(name))
}

// findModules lists the adapted layers by the tensors that are there.
func (a *Adapter) findModules() error {
	for name, at := range a.weights.where {
		module, ok := strings.CutPrefix(name, lora.Prefix)
		refuse := func(problem string) error {
			return &FormatError{Path: at.file.path, Tensor: name, Problem: problem, Try: "only LoRA over linear layers is read"}
		}
		isA, isB := strings.HasSuffix(module, loraA), strings.HasSuffix(module, loraB)
		if !ok || !isA && !isB {
			return refuse("is not A or B of a linear layer's adapter")
		}
		if len(at.info.Shape) != 2 || !isWeight(at.info) || at.info.DType.IsFP8() {
			return refuse(fmt.Sprintf("is %v, expected a matrix of numbers", at.info))
		}
		if isB {
			continue
		}
		module = strings.TrimSuffix(module, loraA)
		if _, ok := a.weights.where[lora.Prefix+module+loraB]; !ok {
			return refuse("has no lora_B beside it")
		}
		a.Options.Targets = append(a.Options.Targets, module)
	}
	if len(a.weights.where) != 2*len(a.Options.Targets) || len(a.Options.Targets) == 0 {
		return &FormatError{Path: a.Path, Problem: "does not have an A for every B", Try: "fetch or save the adapter again"}
	}
	slices.SortFunc(a.Options.Targets, compareNames)
	return nil
}

// Attach gives base, a model over a backend of package lora, this adapter's weights; new
// tensors are allocated in ar. Layers that base lacks, and shapes that do not fit, are a
// *LoadError.
func (a *Adapter) Attach(base model.Net, ar *compute.Arena) (*lora.Model, error) {
	learner, ok := base.(model.Learner)
	if !ok {
		return nil, fmt.Errorf("%s: models of the architecture %s take no adapters", a.Path, base.Describe().Architecture())
	}
	if err := a.fits(base); err != nil {
		return nil, err
	}
	m, err := lora.Attach(learner, ar, a.Options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Path, err)
	}
	for _, x := range m.Adapters() {
		if err := a.load(base.Backend(), x.NameA(), x.A, 0); err != nil {
			return nil, err
		}
		if err := a.load(base.Backend(), x.NameB(), x.B, rowHeads(base, x.Module)); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// fits compares names and shapes with those of a model.
func (a *Adapter) fits(base model.Net) error {
	shapes := lora.Layers(base)
	var problems []Problem
	for _, module := range a.Options.Targets {
		problems = append(problems, a.misfits(module, shapes[module])...)
	}
	if len(problems) == 0 {
		return nil
	}
	slices.SortFunc(problems, func(x, y Problem) int { return cmp.Compare(x.Tensor, y.Tensor) })
	return &LoadError{Path: a.Path, Problems: problems, Try: "the adapter must be one of this model; routed experts, routers, embedding and head take none here"}
}

// misfits compares an adapter with its layer's shape [out, in], zeros where there is no
// such layer.
func (a *Adapter) misfits(module string, shape [2]int) []Problem {
	var out []Problem
	check := func(name string, want []int) {
		at := a.weights.where[name]
		switch {
		case shape == [2]int{}:
			out = append(out, Problem{at.file.path, name, "", at.info.String()})
		case !slices.Equal(at.info.Shape, want):
			out = append(out, Problem{at.file.path, name, fmt.Sprint(want), at.info.String()})
		}
	}
	r := a.Options.RankOf(module)
	check(lora.Prefix+module+loraA, []int{r, shape[1]})
	check(lora.Prefix+module+loraB, []int{shape[0], r})
	return out
}

// load fills t from a tensor, its rows ordered as a model with adjacent pairs has them
// where heads are given.
func (a *Adapter) load(be compute.Backend, name string, t compute.Tensor, heads int) error {
	m, err := a.numbers(name)
	if err != nil {
		return err
	}
	if heads > 0 {
		m = m.adjacent(heads)
	}
	v := make([]float32, m.cols)
	for i := range m.rows {
		if err := m.read(v, i, 1); err != nil {
			return err
		}
		be.UploadF32(t.Rows(i, i+1), v)
	}
	return nil
}

// numbers is a tensor of the adapter, whose numbers are finite or an error.
func (a *Adapter) numbers(name string) (rows, error) {
	m, err := a.weights.fileRows(a.weights.where[name])
	if err != nil {
		return m, err
	}
	read := m.read
	m.read = func(dst []float32, from, n int) error {
		if err := read(dst, from, n); err != nil {
			return err
		}
		for _, x := range dst[:n*m.cols] {
			if !finite(x) {
				return &FormatError{Path: m.file, Tensor: m.name, Problem: "holds a number that is not finite", Try: "its training went wrong: take an earlier checkpoint of the adapter"}
			}
		}
		return nil
	}
	return m, nil
}

// rowHeads is the number of heads by which the rows of a layer's weight are ordered in
// memory with adjacent pairs, where Hugging Face's files have them half a head apart;
// 0 where they are as in the files.
func rowHeads(m model.Net, module string) int {
	c, ok := m.Describe().(*llama.Config)
	if !ok || !c.RopeInterleaved {
		return 0
	}
	return headsOf(module+".", [2]int{c.NumAttentionHeads, c.NumKeyValueHeads})
}
