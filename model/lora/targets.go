package lora

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sonde/model"
	"sonde/nn"
)

// layer is a linear layer that can be adapted.
type layer struct {
	module string
	nn.Param
}

// linear are the names of the matrices of attention (grouped-query and MLA) and of dense
// feed-forwards.
var linear = []string{"q_proj", "k_proj", "v_proj", "o_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",
	"gate_proj", "up_proj", "down_proj"}

var layerNumber = regexp.MustCompile(`^model\.layers\.(\d+)\.(self_attn|mlp)\.`)

// layers lists what can be adapted. Modules of multi-token prediction, whose numbers
// follow the layers', take no part in training of this kind.
func layers(m model.Net) []layer {
	var out []layer
	for _, p := range m.Params() {
		module, ok := strings.CutSuffix(p.Name, ".weight")
		at := layerNumber.FindStringSubmatch(p.Name)
		if !ok || at == nil || strings.Contains(module, ".experts.") || strings.Contains(module, ".indexer.") {
			continue
		}
		n, err := strconv.Atoi(at[1])
		last := module[strings.LastIndexByte(module, '.')+1:]
		if err != nil || n >= m.Describe().Layers() || !slices.Contains(linear, last) {
			continue
		}
		out = append(out, layer{module, p})
	}
	return out
}

// Layers are the shapes [out, in] of the linear layers of m that can be adapted, by name.
func Layers(m model.Net) map[string][2]int {
	out := map[string][2]int{}
	for _, l := range layers(m) {
		out[l.module] = [2]int{l.T.NumRows(), l.T.NumCols()}
	}
	return out
}

// choose lists the layers that the options' targets name.
func (o Options) choose(m model.Net) ([]layer, error) {
	all := layers(m)
	if len(o.Targets) == 0 || slices.Equal(o.Targets, []string{AllLinear}) {
		return all, nil
	}
	var out []layer
	used := make([]bool, len(o.Targets))
	for _, l := range all {
		i := slices.IndexFunc(o.Targets, func(t string) bool { return l.module == t || strings.HasSuffix(l.module, "."+t) })
		if i >= 0 {
			out = append(out, l)
		}
		for j, t := range o.Targets {
			used[j] = used[j] || l.module == t || strings.HasSuffix(l.module, "."+t)
		}
	}
	if i := slices.Index(used, false); i >= 0 {
		return nil, fmt.Errorf("lora: no layer's name ends in %q; this model has %s, and %s takes all of them (routed experts, routers, embedding and head are not adapted)",
			o.Targets[i], strings.Join(kinds(all), ", "), AllLinear)
	}
	return out, nil
}

// kinds are the distinct last parts of the layers' names.
func kinds(all []layer) []string {
	var out []string
	for _, l := range all {
		if last := l.module[strings.LastIndexByte(l.module, '.')+1:]; !slices.Contains(out, last) {
			out = append(out, last)
		}
	}
	return out
}
