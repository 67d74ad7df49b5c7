package sonde

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sonde/internal/golden"
	"sonde/model"
)

// realCase is what another implementation computed from a published file.
type realCase struct {
	Bytes   int64
	SHA256  string
	Prompts []struct {
		Prompt  string
		Chat    bool
		IDs     []int32
		Greedy  []int32
		Margins []float64 // between the best two logits of each greedy step
	}
	Perplexity []struct {
		Text        string
		Tokens      int
		Window      int
		CountedFrom int `json:"counted_from"`
		Counted     int
		Perplexity  float64
	}
}

// TestGoldenReal runs published GGUF files: the ids and the template are the original's,
// with float32 activations the logits are within 1e-3 and the greedy tokens the same up
// to the first near-tie, with 8-bit ones the perplexities are within 0.5 %.
func TestGoldenReal(t *testing.T) {
	for _, c := range golden.Cases(t, "real") {
		t.Run(c.Name, func(t *testing.T) {
			raw, err := os.ReadFile(c.Path("golden.json"))
			if err != nil {
				t.Skip(err)
			}
			var want realCase
			if err := json.Unmarshal(raw, &want); err != nil {
				t.Fatal(err)
			}
			path := realFile(t, want)
			t.Run("f32", func(t *testing.T) {
				m := openReal(t, path, ActivationsF32)
				checkTemplate(t, m)
				checkPrompts(t, m, want, golden.Read(t, c.Path("logits.safetensors")))
			})
			t.Run("int8", func(t *testing.T) {
				checkPerplexity(t, openReal(t, path, ActivationsInt8), want, filepath.Dir(c.Dir))
			})
		})
	}
}

// realFile finds the published file: the one that SONDE_SMOLLM2 names, or one in the
// cache, where .ci/run puts it.
func realFile(t *testing.T, want realCase) string {
	files := []string{os.Getenv("SONDE_SMOLLM2")}
	cache := os.Getenv("XDG_CACHE_HOME")
	if home, err := os.UserHomeDir(); cache == "" && err == nil {
		cache = filepath.Join(home, ".cache")
	}
	filepath.WalkDir(filepath.Join(cache, "sonde", "real"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".gguf" {
			files = append(files, path)
		}
		return nil
	})
	for _, path := range files {
		if info, err := os.Stat(path); err == nil && info.Size() == want.Bytes && sha(t, path) == want.SHA256 {
			return path
		}
	}
	t.Skipf("no file of %d bytes with SHA-256 %s: name it by SONDE_SMOLLM2, or run .ci/run, which fetches it where pip is", want.Bytes, want.SHA256)
	return ""
}

func sha(t *testing.T, path string) string {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func openReal(t *testing.T, path, activations string) *Model {
	m, err := Open(path, Options{Activations: activations})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// checkTemplate looks for the model's template among the published ones.
func checkTemplate(t *testing.T, m *Model) {
	files, _ := filepath.Glob(filepath.Join(golden.Dir(t), "template", "*.jinja"))
	for _, path := range files {
		if raw, err := os.ReadFile(path); err == nil && string(raw) == m.tokCfg.ChatTemplate {
			t.Logf("the template is %s", filepath.Base(path))
			return
		}
	}
	t.Errorf("the template is none of %d published ones: %q", len(files), m.tokCfg.ChatTemplate)
}

func checkPrompts(t *testing.T, m *Model, want realCase, logits map[string]golden.Tensor) {
	if len(want.Prompts) == 0 {
		t.Error("there are no prompts")
	}
	for i, p := range want.Prompts {
		ids, _ := m.Prompt(p.Prompt)
		if p.Chat {
			chat, err := m.ChatPrompt([]Message{{Role: "user", Content: p.Prompt}}, ChatOptions{})
			if err != nil {
				t.Fatal(err)
			}
			ids = chat.IDs
		}
		if !slices.Equal(ids, p.IDs) {
			t.Errorf("%q: ids %v, expected %v", p.Prompt, ids, p.IDs)
			continue
		}
		got, same := greedy(t, m.net, ids, p.Greedy)
		tie := slices.IndexFunc(p.Margins, func(x float64) bool { return x < 0.05 })
		if tie < 0 {
			tie = len(p.Greedy)
		}
		d := distance(got, golden.Get(t, logits, fmt.Sprintf("logits.%d", i)).F32())
		t.Logf("%2d ids, logits within %.1e, %d of %d greedy tokens (near-tie at %d)  %.40q", len(ids), d, same, len(p.Greedy), tie, p.Prompt)
		if d > 1e-3 || same < min(tie, len(p.Greedy)) {
			t.Errorf("%q: logits differ by %.2e, greedy tokens from step %d on", p.Prompt, d, same)
		}
	}
}

// greedy returns the logits after ids, and how many steps choose the tokens of want.
func greedy(t *testing.T, net model.Net, ids, want []int32) (first []float32, same int) {
	seq := net.NewSequence(len(ids) + len(want))
	defer seq.Close()
	next := ids
	for step := range len(want) {
		part := []model.Part{{Sequence: seq, IDs: next, Want: model.WantLast}}
		if err := net.Forward(part); err != nil {
			t.Fatal(err)
		}
		logits := part[0].Logits
		if first == nil {
			first = slices.Clone(logits)
		}
		best := int32(slices.Index(logits, slices.Max(logits)))
		if best != want[step] {
			return first, step
		}
		next = []int32{best}
	}
	return first, len(want)
}

// distance is the norm of a-b relative to b's.
func distance(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	var diff, norm float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		diff += d * d
		norm += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(diff / norm)
}

func checkPerplexity(t *testing.T, m *Model, want realCase, dir string) {
	for _, p := range want.Perplexity {
		raw, err := os.ReadFile(filepath.Join(dir, p.Text))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(m.tok.Encode(string(raw))); n != p.Tokens { // transformers sets SmolLM's digits apart for tokenizer.json alone, not for GGUF
			t.Logf("%s: %d tokens, the original's %d", p.Text, n, p.Tokens)
		}
		got, err := m.Perplexity(t.Context(), string(raw), PerplexityOptions{Window: p.Window, CountFrom: p.CountedFrom})
		if err != nil {
			t.Fatal(err)
		}
		off := got.Perplexity/p.Perplexity - 1
		t.Logf("%s: perplexity %.4f over %d tokens, the original's %.4f: %+.2f %%", p.Text, got.Perplexity, got.Tokens, p.Perplexity, 100*off)
		if math.Abs(off) > 0.005 || got.Tokens != p.Counted {
			t.Errorf("%s: perplexity %.4f over %d tokens, expected %.4f over %d", p.Text, got.Perplexity, got.Tokens, p.Perplexity, p.Counted)
		}
	}
}
