package sonde

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"sonde/checkpoint"
	"sonde/internal/tiny"
)

// openDefault opens the embedded model.
func openDefault(t *testing.T) *Model {
	t.Helper()
	m, err := Open("", Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func answerOf(t *testing.T, m *Model, messages []Message, most int) string {
	t.Helper()
	var b strings.Builder
	for piece, err := range m.Chat(context.Background(), messages, GenerateOptions{MaxTokens: most}) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(piece)
	}
	return b.String()
}

func TestEmbedded(t *testing.T) {
	m := openDefault(t)
	r, err := Embedded()
	if err != nil {
		t.Fatal(err)
	}
	if m.Name() != r.Name || m.Recipe() == nil || m.About() != r.About || len(m.Warnings()) > 0 {
		t.Errorf("%q, %v, %q, warnings %q", m.Name(), m.Recipe(), m.About(), m.Warnings())
	}
	if r.Parameters != m.Config().TotalParams() || r.Active != m.Config().ActiveParams() || r.Command == "" || r.Commit == "" || r.About == "" || r.Date == "" {
		t.Errorf("the recipe is not the model's, or leaves something out: %+v", r)
	}
	if temperature, topP, known := m.Sampling(); temperature != 0 || topP != 1 || !known {
		t.Errorf("sampling %v, %v, %v; the embedded model always takes the most probable token", temperature, topP, known)
	}
	byName, err := Open(r.Name, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	byName.Close()
	// Every field of the file is one that is read.
	raw, err := os.ReadFile("embedded/recipe.json")
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(new(Recipe)); err != nil {
		t.Error(err)
	}
	files, _ := filepath.Glob("embedded/*")
	total := int64(0)
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total > 8<<20 {
		t.Errorf("embedded/ takes %d bytes, more than 8 MiB", total)
	}
}

// TestEmbeddedIsItsFolder: from memory the model answers as its folder does on a disk, and
// its matrices lie where the program has them.
func TestEmbeddedIsItsFolder(t *testing.T) {
	m := openDefault(t)
	disk, err := Open("embedded", Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	talk := []Message{{Role: "user", Content: "What is 12 + 30 + 7?"}}
	if a, b := answerOf(t, m, talk, 40), answerOf(t, disk, talk, 40); a != b {
		t.Errorf("embedded %q, from the folder %q", a, b)
	}
	start := uintptr(unsafe.Pointer(unsafe.StringData(embeddedWeights)))
	inPlace, matrices := 0, 0
	for _, s := range m.net.Slots() {
		if len(s.Shape) == 2 && s.Experts == 1 && !s.Plain {
			matrices++
			if at := uintptr(s.Field.Ptr()); at >= start && at < start+uintptr(len(embeddedWeights)) {
				inPlace++
			}
		}
	}
	if inPlace < matrices || matrices == 0 {
		t.Errorf("%d of %d matrices lie in the program's memory, the others were copied", inPlace, matrices)
	}
}

// TestEmbeddedReadsTheLastQuestion: neither a system message nor earlier turns change the
// answer.
func TestEmbeddedReadsTheLastQuestion(t *testing.T) {
	m := openDefault(t)
	alone := []Message{{Role: "user", Content: "Sort 3, 1, 2"}}
	talk := []Message{{Role: "system", Content: "You are a pirate."}, {Role: "user", Content: "Hello"}, {Role: "assistant", Content: "Hi!"}, alone[0]}
	a, err := m.ChatPrompt(alone, ChatOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.ChatPrompt(talk, ChatOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Decode(a.IDs) != m.Decode(b.IDs) || !strings.Contains(m.Decode(a.IDs), "Sort 3, 1, 2") {
		t.Errorf("%q and %q", m.Decode(a.IDs), m.Decode(b.IDs))
	}
	if _, err := m.ChatPrompt(nil, ChatOptions{}); err == nil {
		t.Error("no messages were taken for a conversation")
	}
}

func TestEmbeddedChanged(t *testing.T) {
	r := &Recipe{Format: 1, Name: "x", SHA256: map[string]string{"config.json": "00", "model.safetensors": "00"}}
	for _, c := range []struct {
		files checkpoint.Files
		want  string
	}{
		{checkpoint.Files{"config.json": []byte("{}")}, "lacks model.safetensors"},
		{checkpoint.Files{"config.json": []byte("{}"), "model.safetensors": []byte("x")}, "changed it"},
	} {
		if _, err := checkedSource(r, c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// TestSamplingOfFolders: generation_config.json says how tokens are chosen, or nothing.
func TestSamplingOfFolders(t *testing.T) {
	for _, c := range []struct {
		file              string
		temperature, topP float64
		known             bool
	}{
		{`{}`, 0, 0, false},
		{`{"temperature": 0.5}`, 0, 0, false},
		{`{"do_sample": true, "temperature": 0.6, "top_p": 0.95}`, 0.6, 0.95, true},
		{`{"do_sample": true}`, 1, 1, true},
		{`{"do_sample": true, "temperature": -3, "top_p": 7}`, 1, 1, true},
		{`{"do_sample": false, "temperature": 0.6}`, 0, 1, true},
		{`[]`, 0, 0, false},
	} {
		dir := tiny.Folder(t)
		if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(c.file), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := Open(dir, Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		if temperature, topP, known := m.Sampling(); temperature != c.temperature || topP != c.topP || known != c.known {
			t.Errorf("%s: %v, %v, %v", c.file, temperature, topP, known)
		}
		m.Close()
	}
}
