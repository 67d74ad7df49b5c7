package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/checkpoint"
	"sonde/internal/tiny"
	"sonde/text"
)

// chatting writes a tiny model whose template has turns.
func chatting(t *testing.T) string {
	t.Helper()
	dir := tiny.Folder(t)
	raw, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := text.LoadTokenizer(raw)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := text.NewChatConfig(tok, tiny.Context).JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), cfg, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEmbed: the folder that comes out is complete, in bfloat16, greedy, and its recipe has
// the hash of every file; an older one is replaced.
func TestEmbed(t *testing.T) {
	to := filepath.Join(t.TempDir(), "embedded")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "old.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := recipe{Format: 1, Name: "tiny", About: "a test", Command: "none", Seed: 7, Commit: "abc", SHA256: map[string]string{}}
	if err := run(&r, chatting(t), to); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(to, "recipe.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got recipe
	if err := json.Unmarshal(raw, &got); err != nil || got.Seed != 7 || got.Parameters == 0 || got.Active == 0 || got.Active >= got.Parameters {
		t.Fatalf("%v %s", err, raw)
	}
	list, err := os.ReadDir(to)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(got.SHA256)+1 {
		t.Errorf("%d files, %d hashes", len(list), len(got.SHA256))
	}
	for _, e := range list {
		raw, err := os.ReadFile(filepath.Join(to, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		if e.Name() != "recipe.json" && got.SHA256[e.Name()] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s has another hash", e.Name())
		}
	}
	src, err := checkpoint.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, x := range src.Tensors() {
		if len(x.Shape) == 2 && !strings.HasSuffix(x.Name, ".mlp.gate.weight") && x.DType != checkpoint.BF16 {
			t.Errorf("%s is %v", x.Name, x.DType)
		}
	}
	if !strings.Contains(string(src.GenerationConfig), `"do_sample": false`) {
		t.Errorf("%s", src.GenerationConfig)
	}
}

// TestEmbedRefuses leaves what is there alone.
func TestEmbedRefuses(t *testing.T) {
	to := filepath.Join(t.TempDir(), "embedded")
	r := recipe{Commit: "abc", SHA256: map[string]string{}}
	if err := run(&r, tiny.Folder(t), to); err == nil || !strings.Contains(err.Error(), "chat template") {
		t.Errorf("a base model was taken: %v", err)
	}
	if err := run(&r, filepath.Join(t.TempDir(), "none"), to); err == nil {
		t.Error("a missing folder was taken")
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was written")
	}
}
