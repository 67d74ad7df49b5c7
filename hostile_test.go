package sonde

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/internal/tiny"
)

// TestT7NoPickle: pickled weights are refused by name, in a folder and as a file.
func TestT7NoPickle(t *testing.T) {
	dir := tiny.Folder(t)
	weights := filepath.Join(dir, "pytorch_model.bin")
	if err := os.Rename(filepath.Join(dir, "model.safetensors"), weights); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, weights} {
		m, err := Open(path, Options{})
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "safetensors") || !strings.Contains(err.Error(), "pickled") {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

// TestT10ForeignTemplateIsReported: a known template that was changed by a byte runs,
// and the user is told.
func TestT10ForeignTemplateIsReported(t *testing.T) {
	dir := tiny.Folder(t)
	name := filepath.Join(dir, "tokenizer_config.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, changed := range []bool{false, true} {
		var keys map[string]any
		if err := json.Unmarshal(raw, &keys); err != nil {
			t.Fatal(err)
		}
		if changed {
			keys["chat_template"] = "{# #}" + keys["chat_template"].(string)
		}
		out, err := json.Marshal(keys)
		if err == nil {
			err = os.WriteFile(name, out, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(strings.Join(m.Warnings(), "\n"), "chat template"); told != changed {
			t.Errorf("changed %v, warnings %q", changed, m.Warnings())
		}
		if p, err := m.ChatPrompt([]Message{{Role: "user", Content: "hi"}}, ChatOptions{}); err != nil || len(p.IDs) == 0 {
			t.Errorf("changed %v: %v, %v", changed, p, err)
		}
		m.Close()
	}
}
