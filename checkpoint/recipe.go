package checkpoint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sonde/num"
)

// recipe is a way to quantise a model: a type for most matrices and rules that give
// some of them another. The rules are llama.cpp's, so that a name means the same in
// both worlds.
type recipe struct {
	file uint32 // general.file_type
	base num.BlockType
	// more, where not nil, is the type of one matrix.
	more func(m mixture) num.BlockType
}

// mixture is what rules look at.
type mixture struct {
	kind     string        // of the matrix: "v", "down", "output", or "" for the rest
	base     num.BlockType // the recipe's type
	layer, n int           // which of how many layers; for v which of the matrices v
	shared   int           // heads of queries that share one of keys
	weighted bool          // there is an importance matrix
}

// often is true for the first and the last eighth of the layers and for every third
// between: those in which a few more bits gain most.
func (m mixture) often() bool {
	return m.layer < m.n/8 || m.layer >= 7*m.n/8 || (m.layer-m.n/8)%3 == 2
}

// recipes are the names that Quantize knows.
var recipes = map[string]recipe{
	"Q8_0":   {file: 7, base: num.Q8_0},
	"Q4_0":   {file: 2, base: num.Q4_0, more: firstDown(num.Q4_1)},
	"Q4_1":   {file: 3, base: num.Q4_1},
	"Q5_0":   {file: 8, base: num.Q5_0, more: firstDown(num.Q5_1)},
	"Q5_1":   {file: 9, base: num.Q5_1},
	"Q6_K":   {file: 18, base: num.Q6_K},
	"IQ4_NL": {file: 25, base: num.IQ4_NL, more: iq4},
	"IQ4_XS": {file: 30, base: num.IQ4_XS, more: iq4},
	"Q5_K_S": {file: 16, base: num.Q5_K},
	"Q5_K_M": {file: 17, base: num.Q5_K, more: func(m mixture) num.BlockType {
		if (m.kind == "v" || m.kind == "down") && m.often() {
			return num.Q6_K
		}
		return m.base
	}},
	"Q4_K_S": {file: 14, base: num.Q4_K, more: func(m mixture) num.BlockType {
		if m.kind == "v" && m.layer < 4 || m.kind == "down" && m.layer < m.n/8 {
			return num.Q5_K
		}
		return m.base
	}},
	"Q4_K_M": {file: 15, base: num.Q4_K, more: func(m mixture) num.BlockType {
		if (m.kind == "v" || m.kind == "down") && m.often() {
			return num.Q6_K
		}
		return m.base
	}},
	"Q3_K_S": {file: 11, base: num.Q3_K},
	"Q3_K_M": {file: 12, base: num.Q3_K, more: func(m mixture) num.BlockType {
		switch {
		case m.kind == "v" && m.layer < 2, m.kind == "down" && m.layer < m.n/16:
			return num.Q5_K
		case m.kind == "v", m.kind == "down", m.kind == "o":
			return num.Q4_K
		}
		return m.base
	}},
	"Q3_K_L": {file: 13, base: num.Q3_K, more: func(m mixture) num.BlockType {
		if m.kind == "v" || m.kind == "down" || m.kind == "o" {
			return num.Q5_K
		}
		return m.base
	}},
	"Q2_K": {file: 10, base: num.Q2_K, more: func(m mixture) num.BlockType {
		switch {
		case m.kind == "v" && m.shared >= 4:
			return num.Q4_K
		case m.kind == "v", m.kind == "down", m.kind == "o":
			return num.Q3_K
		}
		return m.base
	}},
	"Q2_K_S": {file: 21, base: num.Q2_K, more: func(m mixture) num.BlockType {
		if m.kind == "v" && m.shared >= 4 || m.kind == "down" && m.layer < m.n/8 {
			return num.Q4_K
		}
		return m.base
	}},
}

// firstDown gives the first eighth of ffn_down another type where an importance matrix
// could lead the recipe's astray.
func firstDown(other num.BlockType) func(mixture) num.BlockType {
	return func(m mixture) num.BlockType {
		if m.kind == "down" && m.weighted && m.layer < m.n/8 {
			return other
		}
		return m.base
	}
}

// iq4 is the rule of both IQ4 recipes.
func iq4(m mixture) num.BlockType {
	if m.kind == "v" && m.shared >= 4 || m.kind == "down" && m.layer < m.n/8 && !m.weighted {
		return num.Q5_K
	}
	return m.base
}

// recipeAliases are short names of recipes.
var recipeAliases = map[string]string{"Q2_K_M": "Q2_K", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

// Recipes lists the names that Quantize knows, sorted.
func Recipes() []string { return slices.Sorted(maps.Keys(recipes)) }

// CheckRecipe is the error of Quantize for a name that it does not know.
func CheckRecipe(name string) error {
	_, err := findRecipe(name)
	return err
}

// findRecipe finds a recipe by its name in any case.
func findRecipe(name string) (recipe, error) {
	key := strings.ToUpper(name)
	if other, ok := recipeAliases[key]; ok {
		key = other
	}
	if r, ok := recipes[key]; ok {
		return r, nil
	}
	if b, ok := DType(key).Block(); ok {
		return recipe{}, fmt.Errorf("%v is read, not written: choose one of %s", b, strings.Join(Recipes(), ", "))
	}
	return recipe{}, fmt.Errorf("there is no type %q: choose one of %s", name, strings.Join(Recipes(), ", "))
}

// types chooses the format of every matrix, by its place in list.
func (r recipe) types(list []rows, c quantShapes, weighted bool) []DType {
	kinds, v := make([]string, len(list)), 0
	head := false
	for i, m := range list {
		kinds[i] = kindOf(ggufName(m.name))
		if kinds[i] == "v" {
			v++
		}
		head = head || kinds[i] == "output"
	}
	out := make([]DType, len(list))
	at := 0 // of v
	for i, m := range list {
		if !quantised(m) {
			out[i] = convertedType(m, "")
			continue
		}
		mix := mixture{kind: kinds[i], base: r.base, layer: max(0, layerOf(ggufName(m.name))), n: c.layers(), shared: c.shared(), weighted: weighted}
		if mix.kind == "v" {
			mix.layer, mix.n = at, v
			at++
		}
		out[i] = fallback(r.choose(mix, c, !head, m.cols), m.cols)
	}
	return out
}

// choose is the type before the shape is looked at. An embedding that is the head too
// counts as a head.
func (r recipe) choose(m mixture, c quantShapes, tied bool, cols int) num.BlockType {
	if m.kind == "output" || tied && m.kind == "embedding" {
		if cols%r.base.Elements() != 0 || r.base == num.Q8_0 {
			return num.Q8_0
		}
		return num.Q6_K
	}
	if r.more == nil || m.kind == "embedding" {
		return r.base
	}
	b := r.more(m)
	if m.kind == "v" && c.is70B() && (b == num.Q3_K || b == num.Q4_K) {
		return num.Q5_K
	}
	return b
}

// kindOf sorts a matrix by llama.cpp's name.
func kindOf(name string) string {
	switch {
	case name == "output.weight":
		return "output"
	case name == "token_embd.weight":
		return "embedding"
	case strings.Contains(name, "attn_v.weight"), strings.Contains(name, "attn_kv_b.weight"):
		return "v"
	case strings.Contains(name, "attn_output.weight"):
		return "o"
	case strings.Contains(name, "ffn_down"):
		return "down"
	}
	return ""
}

// quantised reports whether a weight is quantised at all.
func quantised(m rows) bool {
	return len(m.shape) == 2 && !isRouter(m.name) && !strings.Contains(m.name, "norm") && strings.HasSuffix(m.name, ".weight")
}

// fallback is a type that rows of cols numbers divide into.
func fallback(b num.BlockType, cols int) DType {
	if cols%b.Elements() != 0 {
		switch b {
		case num.Q2_K, num.Q3_K:
			b = num.Q4_0
		case num.Q4_K:
			b = num.Q5_0
		case num.Q5_K:
			b = num.Q5_1
		case num.Q6_K:
			b = num.Q8_0
		case num.IQ4_XS:
			b = num.IQ4_NL
		}
	}
	if cols%b.Elements() != 0 {
		return F16
	}
	return DType(b.String())
}

// quantShapes are the figures of a config that recipes look at.
type quantShapes struct {
	Type    string `json:"model_type"`
	Layers  int    `json:"num_hidden_layers"`
	NextN   int    `json:"num_nextn_predict_layers"`
	Heads   int    `json:"num_attention_heads"`
	KVHeads int    `json:"num_key_value_heads"`
}

func (c quantShapes) layers() int { return c.Layers + c.NextN }

// shared is how many heads of queries share one of keys; MLA's all do.
func (c quantShapes) shared() int {
	switch {
	case strings.HasPrefix(c.Type, "deepseek"):
		return c.Heads
	case c.KVHeads > 0:
		return c.Heads / c.KVHeads
	}
	return 1
}

// is70B names the large models whose few heads of values are worth more bits.
func (c quantShapes) is70B() bool { return c.Layers == 80 && c.shared() > 1 }
