package sonde

import (
	"fmt"
	"path/filepath"
	"strings"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/engine"
	"sonde/model/auto"
	"sonde/model/deepseek"
	"sonde/model/lora"
	"sonde/text"
)

// The values of Options.Activations.
const (
	// ActivationsInt8 rounds the rows that meet block-quantised weights to 8 bits.
	ActivationsInt8 = "int8"
	// ActivationsF32 leaves them as they are: slower, and exact.
	ActivationsF32 = "f32"
)

// Open opens the model at path: a folder in Hugging Face's layout, as a training run
// leaves it too, a .safetensors file beside its config.json, a .gguf file, or the name
// of a model on the hub that was pulled (see Locate); or a folder with a low-rank adapter,
// which is opened on the model that it names. Weights
// are not read but mapped, and run in the format that they have there. The files must
// stay as they are until Close; one that is cut short is an error of what runs then.
//
// "" opens the model that is part of the program (see Embedded), and so does its name.
func Open(path string, o Options) (*Model, error) {
	if IsEmbedded(path) {
		return openEmbedded(o)
	}
	at, err := Locate(path)
	if err != nil {
		return nil, err
	}
	m := &Model{name: path}
	if at == path { // not a name on the hub
		m.name = nameOf(path)
	}
	if checkpoint.IsAdapter(at) {
		at, err = m.adapterBase(at, &o)
	}
	if err == nil {
		err = m.open(at, o)
	}
	if err != nil {
		m.free()
		return nil, err
	}
	m.eng = engine.NewLimited(m.net, m.tok, o.Limits)
	return m, nil
}

func (m *Model) open(path string, o Options) (err error) {
	act, err := activations(o.Activations)
	if err != nil {
		return err
	}
	if m.src == nil { // not in memory
		if m.src, err = checkpoint.Open(path); err != nil {
			return err
		}
	}
	if err := m.read(o.ChatTemplate); err != nil {
		return err
	}
	if err := m.openAdapter(o.Adapter); err != nil {
		return err
	}
	if m.be, err = cpu.New(cpu.Options{Threads: o.Threads}); err != nil {
		return err
	}
	if m.adapter != nil {
		m.be = lora.New(m.be)
	}
	return m.load(act)
}

func activations(name string) (compute.Activations, error) {
	switch name {
	case "", ActivationsInt8:
		return compute.ActInt8, nil
	case ActivationsF32:
		return compute.ActF32, nil
	}
	return 0, fmt.Errorf("activations %q are not known: choose %s or %s", name, ActivationsInt8, ActivationsF32)
}

// nameOf is the folder's own name, or the file's without its ending, whatever way the
// path is written.
func nameOf(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	name := filepath.Base(path)
	if strings.EqualFold(filepath.Ext(name), ".gguf") {
		name = name[:len(name)-len(".gguf")]
	}
	return name
}

// read parses everything but the weights.
func (m *Model) read(template string) (err error) {
	s := m.src
	if m.cfg, m.warnings, err = auto.ParseConfig(s.Config); err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	if err := m.readTokenizer(); err != nil {
		return err
	}
	if s.ChatTemplate != nil {
		m.tokCfg.ChatTemplate = string(s.ChatTemplate)
	}
	if template != "" {
		if err := m.tokCfg.UseTemplate(template); err != nil {
			return fmt.Errorf("%s: %w", s.Path, err)
		}
	}
	if err := m.checkTemplate(); err != nil {
		return err
	}
	if m.tok.VocabSize() > m.cfg.Vocab() {
		return fmt.Errorf("%s: the tokenizer has %d tokens, but config.json says vocab_size %d; they belong to different models: fetch both from one place",
			s.Path, m.tok.VocabSize(), m.cfg.Vocab())
	}
	return nil
}

// checkTemplate chooses V3.2's prompts, which come as code and not as a template, and
// warns of a template that is not one of the known ones.
func (m *Model) checkTemplate() error {
	if m.tokCfg.ChatTemplate == "" {
		if m.cfg.Architecture() == "DeepseekV32ForCausalLM" {
			return m.tokCfg.UseTemplate("deepseek-v3.2")
		}
		return nil
	}
	if name, err := m.tokCfg.Template(); err == nil && name == text.ForeignTemplate {
		m.warnings = append(m.warnings, "the chat template is none of those that are known and checked; it runs in a sandbox, and prompts may differ from what the model's authors meant if the file was changed")
	}
	return nil
}

// readTokenizer reads the tokenizer of a GGUF file, or tokenizer.json and
// tokenizer_config.json.
func (m *Model) readTokenizer() (err error) {
	s := m.src
	if s.GGUF != nil {
		m.tok, m.tokCfg, err = text.FromGGUF(s.Path, s.GGUF.Values)
		return err
	}
	if s.Tokenizer == nil {
		return fmt.Errorf("%w: %s has no tokenizer.json; fetch it from where the model came from", ErrNoModel, s.Path)
	}
	if m.tok, m.tokCfg, err = text.FromFiles(s.Tokenizer, s.TokenizerConfig, m.cfg.Context()); err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

// load builds the model over addresses and binds the weights to their places.
func (m *Model) load(act compute.Activations) (err error) {
	defer func() {
		if lack := compute.AsOutOfMemory(recover()); lack != nil {
			err = fmt.Errorf("%s: %w", m.src.Path, lack)
		}
	}()
	m.withoutMTP()
	if err := m.plausible(); err != nil {
		return err
	}
	m.places = compute.NewArena("the addresses of the model's weights", compute.AddressSpace{})
	m.ar = m.be.NewArena("the weights that are copied from files")
	net := auto.New(m.cfg, m.be, m.places, compute.F32)
	m.net = checkpoint.Guarded(net)
	if err := m.src.Bind(net.Slots(), m.be, m.ar, checkpoint.BindOptions{Activations: act, FetchAhead: m.src.FitsMemory()}); err != nil || m.adapter == nil {
		return err
	}
	adapted, err := m.adapter.Attach(net, m.ar)
	if err != nil {
		return err
	}
	m.net = checkpoint.Guarded(adapted)
	return nil
}

// plausible refuses a config of more weights than the files can hold, before memory is
// taken in proportion to it.
func (m *Model) plausible() error {
	bytes, slots := m.src.WeightBytes(), int64(m.cfg.Layers())*16
	if c, ok := m.cfg.(*deepseek.Config); ok {
		slots += int64(c.NumHiddenLayers+c.NumNextnPredict) * int64(c.NRoutedExperts) * 3
	}
	// The narrowest format has 50 bytes for 256 numbers; listing a place for a weight
	// takes some 400 bytes.
	if need := m.cfg.TotalParams() / 256 * 50; need > bytes || slots*400 > bytes+64<<20 {
		return fmt.Errorf("%s: the config describes %d numbers in %d layers, which take at least %s, and the weights are %s: they belong to different models, fetch both from one place",
			m.src.Path, m.cfg.TotalParams(), m.cfg.Layers(), Bytes(need), Bytes(bytes))
	}
	return nil
}

// withoutMTP takes the modules of multi-token prediction for absent where the files
// have no weights of them: transformers leaves them out when it saves, and the config
// names them still. Generation does without.
func (m *Model) withoutMTP() {
	cfg, ok := m.cfg.(*deepseek.Config)
	if !ok || cfg.NumNextnPredict == 0 || m.src.HasLayer(cfg.NumHiddenLayers) {
		return
	}
	m.warnings = append(m.warnings, fmt.Sprintf("config.json: num_nextn_predict_layers is %d, but there are no weights of such layers; the model is read without them", cfg.NumNextnPredict))
	cfg.NumNextnPredict = 0
}

// free gives back what was taken.
func (m *Model) free() {
	if m.net != nil {
		m.net.Close()
	}
	for _, ar := range []*compute.Arena{m.ar, m.places} {
		if ar != nil {
			ar.Free()
		}
	}
	if m.be != nil {
		m.be.Close()
	}
	if m.src != nil {
		m.src.Close()
	}
	if m.adapter != nil {
		m.adapter.Close()
	}
}
