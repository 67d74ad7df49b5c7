// Package sonde is the face of Sonde for Go programs: open a DeepSeek-V3 model from
// a folder in Hugging Face's layout, let it continue text or chat, measure it.
//
//	m, err := sonde.Open("runs/go", sonde.Options{})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer m.Close()
//	for piece, err := range m.Generate(ctx, "func Reverse(", sonde.GenerateOptions{MaxTokens: 64}) {
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Print(piece)
//	}
//
// A Model is safe for concurrent use: callers take turns token by token, and what
// one gets does not depend, to the last bit, on the others or on the number of
// threads.
package sonde

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/engine"
	"sonde/model/deepseek"
	"sonde/text"
)

// Errors that callers tell apart, beside those of the rooms below.
var (
	// ErrNoModel says that a path holds no model.
	ErrNoModel = errors.New("no model there")
	// ErrClosed says that the model was closed.
	ErrClosed = errors.New("the model is closed")
)

// Options say how to open a model. The zero value is good.
type Options struct {
	// Threads is the number of workers; 0 takes every core.
	Threads int
	// Limits bound the texts generated at a time.
	Limits engine.Limits
	// ChatTemplate names a chat template of package text ("plain", "deepseek-v3") to
	// use instead of the model's own.
	ChatTemplate string
}

// Model is an opened model with its tokenizer.
type Model struct {
	name     string
	cfg      *deepseek.Config
	warnings []string
	tok      *text.Tokenizer
	tokCfg   *text.TokenizerConfig
	be       compute.Backend
	ar       *compute.Arena
	net      *deepseek.Model
	eng      *engine.Engine

	mu     sync.RWMutex // held for reading while the model is in use
	closed bool
}

// Open loads the model in the folder at path: config.json, tokenizer.json and
// safetensors, as Hugging Face lays them out and as a training run leaves them. F32
// weights stay F32, narrower ones are kept as BF16.
func Open(path string, o Options) (*Model, error) {
	if err := looksLikeModel(path); err != nil {
		return nil, err
	}
	f, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &Model{name: nameOf(path)}
	if err := m.read(f, o); err != nil {
		return nil, err
	}
	be, err := cpu.New(cpu.Options{Threads: o.Threads})
	if err != nil {
		return nil, err
	}
	m.be = be
	if err := m.load(f); err != nil {
		m.free()
		return nil, err
	}
	m.eng = engine.NewLimited(m.net, m.tok, o.Limits)
	return m, nil
}

// looksLikeModel gives the commonest mistakes an answer of their own.
func looksLikeModel(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the folder %s does not exist; name the folder of a training run or of a Hugging Face model, or make one: \"sonde train --help\"", ErrNoModel, path)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%w: %s is a file; name the folder that holds config.json and model.safetensors", ErrNoModel, path)
	}
	return nil
}

// nameOf is the folder's own name, whatever way the path is written.
func nameOf(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return filepath.Base(path)
}

// read parses the folder's JSON files.
func (m *Model) read(f *checkpoint.Folder, o Options) (err error) {
	if m.cfg, m.warnings, err = deepseek.ParseConfig(f.Config); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if f.Tokenizer == nil {
		return fmt.Errorf("%w: %s has no tokenizer.json; fetch it from where the model came from", ErrNoModel, f.Path)
	}
	if m.tok, err = text.LoadTokenizer(f.Tokenizer); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if err := m.readTokenizerConfig(f, o.ChatTemplate); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if m.tok.VocabSize() > m.cfg.VocabSize {
		return fmt.Errorf("%s: tokenizer.json has %d tokens, but config.json says vocab_size %d; they belong to different models: fetch both from one place",
			f.Path, m.tok.VocabSize(), m.cfg.VocabSize)
	}
	return nil
}

// readTokenizerConfig parses tokenizer_config.json; without one the model is taken
// for a base model whose texts begin as the tokenizer says. A chat template in a file
// of its own, as newer versions of transformers write it, counts first.
func (m *Model) readTokenizerConfig(f *checkpoint.Folder, template string) (err error) {
	if f.TokenizerConfig == nil {
		m.tokCfg = text.NewTokenizerConfig(m.tok, m.cfg.MaxPositionEmbedding)
	} else if m.tokCfg, err = text.ParseTokenizerConfig(f.TokenizerConfig); err != nil {
		return err
	} else if err := m.tok.UseConfig(m.tokCfg); err != nil {
		return err
	}
	if f.ChatTemplate != nil {
		m.tokCfg.ChatTemplate = string(f.ChatTemplate)
	}
	if template != "" {
		return m.tokCfg.UseTemplate(template)
	}
	return nil
}

// load allocates the model and fills it with the folder's weights.
func (m *Model) load(f *checkpoint.Folder) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *compute.OutOfMemory:
			err = fmt.Errorf("%s: %w; the model needs about %d MiB", f.Path, r, m.cfg.TotalParams()*int64(weightType(f).Size())>>20)
		default:
			panic(r)
		}
	}()
	m.withoutMTP(f)
	m.ar = m.be.NewArena("the model's weights")
	m.net = deepseek.NewWith(m.cfg, m.be, m.ar, weightType(f))
	return f.Load(m.net.Params(), m.be)
}

// withoutMTP takes the modules of multi-token prediction for absent where the folder
// has no weights of them: transformers leaves them out when it saves, and the config
// names them still. Generation does without.
func (m *Model) withoutMTP(f *checkpoint.Folder) {
	if m.cfg.NumNextnPredict == 0 {
		return
	}
	first := fmt.Sprintf("model.layers.%d.", m.cfg.NumHiddenLayers)
	if slices.ContainsFunc(f.Tensors(), func(t checkpoint.Info) bool { return strings.HasPrefix(t.Name, first) }) {
		return
	}
	m.warnings = append(m.warnings, fmt.Sprintf("config.json: num_nextn_predict_layers is %d, but there are no weights of such layers; the model is read without them", m.cfg.NumNextnPredict))
	m.cfg.NumNextnPredict = 0
}

// weightType is F32 where the embedding is stored so, BF16 otherwise.
func weightType(f *checkpoint.Folder) compute.DType {
	for _, t := range f.Tensors() {
		if t.Name == "model.embed_tokens.weight" && t.DType == checkpoint.F32 {
			return compute.F32
		}
	}
	return compute.BF16
}

// free gives back what was allocated.
func (m *Model) free() {
	if m.ar != nil {
		m.ar.Free()
	}
	m.be.Close()
}

// Close frees the model after the calls under way have returned. It may be called
// more than once.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		m.free()
	}
	return nil
}

// enter keeps the model open until leave is called.
func (m *Model) enter() (leave func(), err error) {
	m.mu.RLock()
	if m.closed {
		m.mu.RUnlock()
		return nil, ErrClosed
	}
	return m.mu.RUnlock, nil
}

// Name is the name of the model's folder.
func (m *Model) Name() string { return m.name }

// Config is the model's configuration.
func (m *Model) Config() *deepseek.Config { return m.cfg }

// Warnings name keys of config.json that were not understood and passed over.
func (m *Model) Warnings() []string { return m.warnings }

// Tokenizer is the model's tokenizer.
func (m *Model) Tokenizer() *text.Tokenizer { return m.tok }

// Engine generates from tokens, for programs that need more than text: an HTTP
// server, a benchmark. Its calls must have returned before Close.
func (m *Model) Engine() *engine.Engine { return m.eng }

// Network is the bare model.
func (m *Model) Network() *deepseek.Model { return m.net }
