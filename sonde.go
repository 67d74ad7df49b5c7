// Package sonde is the face of Sonde for Go programs: open a model from
// a folder in Hugging Face's layout or a GGUF file, or the one that is part of the program,
// let it continue text or chat, measure it.
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
	"sync"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/engine"
	"sonde/model"
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
	// Activations is ActivationsInt8 or ActivationsF32: what meets block-quantised
	// weights. "" means ActivationsInt8.
	Activations string
	// Adapter is a folder with a low-rank adapter of the model, in PEFT's layout, that is
	// put on it; "" means none.
	Adapter string
}

// Model is an opened model with its tokenizer.
type Model struct {
	name     string
	recipe   *Recipe            // of the embedded model
	src      *checkpoint.Source // whose memory the weights are in
	cfg      model.Config
	warnings []string
	tok      *text.Tokenizer
	tokCfg   *text.TokenizerConfig
	adapter  *checkpoint.Adapter // on the model, or nil
	be       compute.Backend
	places   *compute.Arena // addresses of weights, without memory
	ar       *compute.Arena // weights that had to be copied
	net      model.Net      // whose Forward gives an error where a file was cut short
	eng      *engine.Engine

	mu     sync.RWMutex // held for reading while the model is in use
	closed bool
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

// Name is the name of the model's folder or file.
func (m *Model) Name() string { return m.name }

// Config is the model's configuration.
func (m *Model) Config() model.Config { return m.cfg }

// Warnings name keys of config.json that were not understood and passed over.
func (m *Model) Warnings() []string { return m.warnings }

// Tokenizer is the model's tokenizer.
func (m *Model) Tokenizer() *text.Tokenizer { return m.tok }

// Engine generates from tokens, for programs that need more than text: an HTTP
// server, a benchmark. Its calls must have returned before Close.
func (m *Model) Engine() *engine.Engine { return m.eng }

// Network is the bare model.
func (m *Model) Network() model.Net { return m.net }
