package reason

import (
	"errors"
	"fmt"
	"slices"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
	"sonde/model/auto"
	"sonde/model/deepseek"
	"sonde/model/lora"
	"sonde/text"
)

// Model is a language model in memory whose weights can be trained, with its tokenizer.
type Model struct {
	Net    model.Learner
	Cfg    model.Config
	Tok    *text.Tokenizer
	TokCfg *text.TokenizerConfig
	// Warnings are what the user should know about the files.
	Warnings []string

	be    compute.Backend
	ar    *compute.Arena // the weights
	files checkpoint.HF  // what is saved beside them
	stops []int32        // see Ends
	save  func(dir string) error
	close func()
}

// OpenOptions say how a checkpoint becomes a Model.
type OpenOptions struct {
	// Compute is the format of matrices in products: "f32" (also ""), or "bf16".
	Compute string
}

// ErrNoLearner says that an architecture cannot be trained.
var ErrNoLearner = errors.New("models of this architecture cannot be trained here")

// Open copies the checkpoint at path, a folder in Hugging Face's layout such as a run's,
// into memory where it can be trained. The files are not needed afterwards. A folder with
// an adapter is OpenAdapter's.
func Open(path string, be compute.Backend, o OpenOptions) (m *Model, err error) {
	if checkpoint.IsAdapter(path) {
		return OpenAdapter(path, be)
	}
	src, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if src.GGUF != nil {
		return nil, fmt.Errorf("%s: all weights of a GGUF file cannot be trained: train an adapter (--lora), or write the model as safetensors first (sonde convert)", path)
	}
	m = &Model{be: be}
	if err := m.read(src); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := m.allocate(o.Compute); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := src.Load(m.Net.Params(), be); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// allocate makes the model over memory of its own, its weights undefined.
func (m *Model) allocate(format string) (err error) {
	dt := compute.F32
	switch format {
	case "", "f32":
	case "bf16":
		dt = compute.BF16
	default:
		return fmt.Errorf("products in %q are not known: choose f32 or bf16", format)
	}
	m.ar = m.be.NewArena("weights")
	defer func() {
		if lack := compute.AsOutOfMemory(recover()); lack != nil {
			m.ar.Free()
			err = lack
		}
	}()
	net, ok := auto.New(m.Cfg, m.be, m.ar, dt).(model.Learner)
	if !ok {
		m.ar.Free()
		return fmt.Errorf("%w: %s", ErrNoLearner, m.Cfg.Architecture())
	}
	m.Net = net
	return nil
}

// read parses everything but the weights.
func (m *Model) read(src *checkpoint.Source) (err error) {
	if m.Cfg, m.Warnings, err = auto.ParseConfig(src.Config); err != nil {
		return err
	}
	m.withoutMTP(src)
	if err := m.readTokenizer(src); err != nil {
		return err
	}
	if src.ChatTemplate != nil {
		m.TokCfg.ChatTemplate = string(src.ChatTemplate)
	}
	if m.Tok.VocabSize() > m.Cfg.Vocab() {
		return fmt.Errorf("the tokenizer has %d tokens, but config.json says vocab_size %d; they belong to different models: fetch both from one place", m.Tok.VocabSize(), m.Cfg.Vocab())
	}
	m.files = checkpoint.HF{TokenizerJSON: src.Tokenizer, TokenizerConfigJSON: src.TokenizerConfig, GenerationConfigJSON: src.GenerationConfig, ChatTemplate: src.ChatTemplate}
	if m.files.ConfigJSON, err = m.Cfg.MarshalJSON(); err != nil {
		return err
	}
	if m.files.TokenizerConfigJSON == nil {
		if m.files.TokenizerConfigJSON, err = m.TokCfg.JSON(); err != nil {
			return err
		}
	}
	m.stops = endTokens(src, m.Tok, m.Cfg.Vocab())
	return nil
}

// readTokenizer reads the tokenizer of a GGUF file, or tokenizer.json and
// tokenizer_config.json.
func (m *Model) readTokenizer(src *checkpoint.Source) (err error) {
	switch {
	case src.GGUF != nil:
		m.Tok, m.TokCfg, err = text.FromGGUF(src.Path, src.GGUF.Values)
		return err
	case src.Tokenizer == nil:
		return errors.New("there is no tokenizer.json; fetch it from where the model came from")
	}
	m.Tok, m.TokCfg, err = text.FromFiles(src.Tokenizer, src.TokenizerConfig, m.Cfg.Context())
	return err
}

// withoutMTP takes the modules of multi-token prediction for absent where the files have
// no weights of them.
func (m *Model) withoutMTP(src *checkpoint.Source) {
	cfg, ok := m.Cfg.(*deepseek.Config)
	if ok && !src.HasLayer(cfg.NumHiddenLayers) {
		cfg.NumNextnPredict = 0
	}
}

// endTokens are the tokens that end an answer: the tokenizer's own, those that the files
// name, and a user's turn.
func endTokens(src *checkpoint.Source, tok *text.Tokenizer, vocab int) []int32 {
	var out []int32
	add := func(ids ...int32) {
		for _, id := range ids {
			if id >= 0 && int(id) < vocab && !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	add(tok.EOS())
	add(src.EndTokens(vocab)...)
	if id, ok := tok.ID(text.UserToken); ok {
		add(id)
	}
	return out
}

// Ends are the tokens that end an answer.
func (m *Model) Ends() []int32 { return m.stops }

// Save writes the model as a folder in Hugging Face's layout; a model that is trained by
// an adapter writes that.
func (m *Model) Save(dir string) error {
	if m.save != nil {
		return m.save(dir)
	}
	return checkpoint.SaveHF(dir, m.files, m.Net.Params(), m.be, 0)
}

// Close gives back the model's memory.
func (m *Model) Close() {
	if m.Net != nil {
		m.Net.Close()
	}
	if m.ar != nil {
		m.ar.Free()
	}
	if m.close != nil {
		m.close()
	}
}

// openTrained opens a checkpoint to be trained as a whole, or through an adapter.
func openTrained(path string, be compute.Backend, format string, a *lora.Options) (*Model, error) {
	if a != nil {
		return OpenAdapted(path, be, *a)
	}
	return Open(path, be, OpenOptions{Compute: format})
}
