// Package tiny makes a model's folder for tests: real files of a DeepSeek-V3 model
// with random weights, small enough to write in a moment.
package tiny

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model/deepseek"
	"sonde/text"
)

// Text is what the tokenizer is trained on, and a text to measure.
const Text = `// Reverse returns s with its characters in reverse order.
func Reverse(s string) string {
	runes := []rune(s)
	for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
		runes[i], runes[j] = runes[j], runes[i]
	}
	return string(runes)
}
// Grüße aus Köln: 世界, \U0001F40B.
`

// Vocab is the vocabulary's size, Context the longest sequence.
const (
	Vocab   = 320
	Context = 96
)

// Config is the model's configuration.
func Config() (*deepseek.Config, error) {
	cfg, err := deepseek.Preset("nano")
	if err != nil {
		return nil, err
	}
	cfg.VocabSize, cfg.MaxPositionEmbedding = Vocab, Context
	cfg.NumHiddenLayers, cfg.HiddenSize, cfg.IntermediateSize, cfg.MoEIntermediateSize = 2, 64, 64, 32
	cfg.NRoutedExperts, cfg.NGroup, cfg.TopKGroup, cfg.NumExpertsPerTok = 4, 2, 1, 2
	cfg.InitializerRange = 0.2 // so that the random model has opinions
	return cfg, nil
}

// Folder writes a model with random weights to a temporary folder.
func Folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Write writes a model with random weights to the folder dir.
func Write(dir string) error {
	cfg, err := Config()
	if err != nil {
		return err
	}
	be := compute.NewReference()
	ar := be.NewArena("a tiny model")
	defer ar.Free()
	m := deepseek.New(cfg, be, ar)
	m.Init(1)
	tok, err := text.TrainBPE(context.Background(), func(yield func([]byte) bool) { yield(bytes.Repeat([]byte(Text), 3)) },
		text.TrainOptions{VocabSize: Vocab, Threads: 1})
	if err != nil {
		return err
	}
	hf := checkpoint.HF{GenerationConfigJSON: []byte("{}")}
	for _, part := range []struct {
		to   *[]byte
		make func() ([]byte, error)
	}{
		{&hf.ConfigJSON, func() ([]byte, error) { return json.Marshal(cfg) }},
		{&hf.TokenizerJSON, tok.JSON},
		{&hf.TokenizerConfigJSON, text.NewTokenizerConfig(tok, cfg.MaxPositionEmbedding).JSON},
	} {
		if *part.to, err = part.make(); err != nil {
			return err
		}
	}
	return checkpoint.SaveHF(dir, hf, m.Params(), be, 0)
}
