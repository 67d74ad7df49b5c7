package sonde

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/internal/tiny"
	"sonde/model/deepseek"
	"sonde/nn"
)

// A folder whose config names modules of multi-token prediction that it has no weights
// of, as transformers saves it, is read without them and generates the same.
func TestOpenWithoutMTPWeights(t *testing.T) {
	whole := tiny.Folder(t)
	raw, err := os.ReadFile(filepath.Join(whole, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err := deepseek.ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.NumNextnPredict == 0 {
		t.Fatal("the tiny model has no module to leave out")
	}
	f, err := checkpoint.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	be := compute.NewReference()
	ar := be.NewArena("test")
	defer ar.Free()
	params := deepseek.New(cfg, be, ar).Params()
	if err := f.Load(params, be); err != nil {
		t.Fatal(err)
	}
	var kept []nn.Param
	for _, p := range params {
		if !strings.HasPrefix(p.Name, "model.layers.2.") {
			kept = append(kept, p)
		}
	}
	cut := t.TempDir()
	hf := checkpoint.HF{ConfigJSON: f.Config, TokenizerJSON: f.Tokenizer, TokenizerConfigJSON: f.TokenizerConfig}
	if err := checkpoint.SaveHF(cut, hf, kept, be, 0); err != nil {
		t.Fatal(err)
	}
	o := GenerateOptions{MaxTokens: 16, IgnoreEOS: true}
	var texts []string
	for _, dir := range []string{whole, cut} {
		m, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		texts = append(texts, all(t, m.Generate(t.Context(), "func", o)))
		if warned := strings.Contains(strings.Join(m.Warnings(), " "), "num_nextn_predict_layers"); warned != (dir == cut) {
			t.Errorf("%s: warnings %q", dir, m.Warnings())
		}
	}
	if texts[0] != texts[1] || texts[0] == "" {
		t.Errorf("the texts differ: %q", texts)
	}
}

// Without one of several such weights the folder is damaged, and says so.
func TestOpenWithSomeMTPWeights(t *testing.T) {
	dir := tiny.Folder(t)
	name := filepath.Join(dir, "config.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(raw, &keys); err != nil {
		t.Fatal(err)
	}
	keys["num_nextn_predict_layers"] = 2
	if raw, err = json.Marshal(keys); err == nil {
		err = os.WriteFile(name, raw, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir, Options{})
	if err == nil {
		m.Close()
		t.Fatal("a module without weights was taken")
	}
	if !strings.Contains(err.Error(), "model.layers.3.") {
		t.Errorf("the error does not name the tensor: %v", err)
	}
}

// transformers saves a chat template as a file of its own, and leaves it out of
// tokenizer_config.json.
func TestChatTemplateInItsOwnFile(t *testing.T) {
	dir := tiny.Folder(t)
	want, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	talk := []Message{{Role: "user", Content: "hi"}}
	wanted, err := want.ChatPrompt(talk, ChatOptions{})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "tokenizer_config.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(raw, &keys); err != nil {
		t.Fatal(err)
	}
	template, _ := keys["chat_template"].(string)
	delete(keys, "chat_template")
	if raw, err = json.Marshal(keys); err == nil {
		err = os.WriteFile(name, raw, 0o666)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got, err := m.ChatPrompt(talk, ChatOptions{})
	if err != nil || !slices.Equal(got.IDs, wanted.IDs) {
		t.Errorf("got %v, %v; expected %v", got, err, wanted)
	}
}
