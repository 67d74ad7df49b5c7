package sonde

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"unsafe"

	"sonde/checkpoint"
	"sonde/engine"
)

// The model that is part of the program: the files of a folder in Hugging Face's layout,
// and the recipe that made them. scripts/embed_model.sh replaces them.
var (
	//go:embed embedded/model.safetensors
	embeddedWeights string // a string lies in memory that cannot be written

	//go:embed embedded/*.json
	embeddedFiles embed.FS
)

// recipeFormat is the number of Recipe's form.
const recipeFormat = 1

// Recipe says what the embedded model is and how it was made: embedded/recipe.json.
type Recipe struct {
	Format int `json:"format"`
	// Name is what the model is called, About a sentence for people.
	Name  string `json:"name"`
	About string `json:"about"`
	// Command made the model, at Commit of this project, with Seed, in Hours on Machine;
	// it was finished on Date.
	Command string  `json:"command"`
	Seed    uint64  `json:"seed"`
	Commit  string  `json:"commit"`
	Hours   float64 `json:"hours"`
	Machine string  `json:"machine"`
	Date    string  `json:"date"`
	// Parameters are the numbers in the model, Active those that a token meets.
	Parameters int64 `json:"parameters"`
	Active     int64 `json:"active"`
	// SHA256 are the hashes of the model's files by name.
	SHA256 map[string]string `json:"sha256"`
}

// Embedded is the recipe of the model that Open("") opens.
func Embedded() (*Recipe, error) {
	const name = "embedded/recipe.json"
	raw, err := embeddedFiles.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: the program was built without one: %w", ErrNoModel, err)
	}
	r := new(Recipe)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.Format != recipeFormat {
		return nil, fmt.Errorf("%s: format %d; this program reads %d: build it from one commit", name, r.Format, recipeFormat)
	}
	return r, nil
}

// embeddedSource gives the model's files, once their hashes are those of the recipe:
// what a checkout changed, line ends for example, must not run.
func embeddedSource(r *Recipe) (*checkpoint.Source, error) {
	weights := unsafe.Slice(unsafe.StringData(embeddedWeights), len(embeddedWeights))
	files := checkpoint.Files{"model.safetensors": weights}
	list, err := embeddedFiles.ReadDir("embedded")
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if files[e.Name()], err = embeddedFiles.ReadFile(path.Join("embedded", e.Name())); err != nil {
			return nil, err
		}
	}
	delete(files, "recipe.json")
	return checkedSource(r, files)
}

// checkedSource opens files that are exactly those of the recipe.
func checkedSource(r *Recipe, files checkpoint.Files) (*checkpoint.Source, error) {
	for name := range r.SHA256 {
		if files[name] == nil {
			return nil, fmt.Errorf("the embedded model lacks %s, which its recipe names: build from a complete checkout", name)
		}
	}
	for name, raw := range files {
		sum := sha256.Sum256(raw)
		if got, want := hex.EncodeToString(sum[:]), r.SHA256[name]; got != want {
			return nil, fmt.Errorf("the embedded %s has the SHA-256 %.12s..., its recipe says %.12s...: a checkout or an edit changed it; restore the folder embedded/ and build again", name, got, want)
		}
	}
	return checkpoint.OpenMemory(r.Name, files)
}

// openEmbedded opens the model that is part of the program.
func openEmbedded(o Options) (*Model, error) {
	r, err := Embedded()
	if err != nil {
		return nil, err
	}
	m := &Model{name: r.Name, recipe: r}
	if m.src, err = embeddedSource(r); err == nil {
		err = m.open("", o)
	}
	if err != nil {
		m.free()
		return nil, err
	}
	m.eng = engine.NewLimited(m.net, m.tok, o.Limits)
	return m, nil
}

// IsEmbedded says whether path stands for the embedded model: it is empty, or the model's
// name and nothing else of that name is there.
func IsEmbedded(path string) bool {
	if path == "" {
		return true
	}
	r, err := Embedded()
	if err != nil || r.Name != path {
		return false
	}
	_, err = Locate(path)
	return err != nil
}

// Recipe is how the embedded model was made, nil for any other.
func (m *Model) Recipe() *Recipe { return m.recipe }

// About is a sentence on what the model is and can do, where it is known: for the embedded
// one; else "".
func (m *Model) About() string {
	if m.recipe == nil {
		return ""
	}
	return m.recipe.About
}

// lastQuestion is what the embedded model reads of a conversation: it learned from single
// questions, and what stands before the last one would only confuse it.
func lastQuestion(messages []Message) []Message {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			return messages[i : i+1]
		}
	}
	return messages
}

// Sampling is how the model's authors want tokens to be chosen, as generation_config.json
// says: temperature (0: always the most probable token) and top-p (1: all). known is false
// where it says nothing of it.
func (m *Model) Sampling() (temperature, topP float64, known bool) {
	var c struct {
		DoSample    *bool    `json:"do_sample"`
		Temperature *float64 `json:"temperature"`
		TopP        *float64 `json:"top_p"`
	}
	if json.Unmarshal(m.src.GenerationConfig, &c) != nil || c.DoSample == nil {
		return 0, 0, false
	}
	if !*c.DoSample {
		return 0, 1, true
	}
	temperature, topP = 1, 1
	if c.Temperature != nil && *c.Temperature >= 0 {
		temperature = *c.Temperature
	}
	if c.TopP != nil && *c.TopP > 0 && *c.TopP <= 1 {
		topP = *c.TopP
	}
	return temperature, topP, true
}
