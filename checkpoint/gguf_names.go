package checkpoint

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ggufGlobal pairs the names of tensors outside the layers: llama.cpp's and Hugging
// Face's.
var ggufGlobal = [][2]string{
	{"token_embd.weight", "model.embed_tokens.weight"},
	{"output_norm.weight", "model.norm.weight"},
	{"output.weight", "lm_head.weight"},
}

// ggufLayer pairs the names within a layer, "blk.N." and "model.layers.N.". Where
// llama.cpp has two layouts, the one that k_b and v_b stand for is Hugging Face's
// kv_b_proj in two parts. A layer of MTP (nextn) is an ordinary one with more.
var ggufLayer = [][2]string{
	{"attn_norm.weight", "input_layernorm.weight"},
	{"attn_q.weight", "self_attn.q_proj.weight"}, {"attn_q.bias", "self_attn.q_proj.bias"},
	{"attn_k.weight", "self_attn.k_proj.weight"}, {"attn_k.bias", "self_attn.k_proj.bias"},
	{"attn_v.weight", "self_attn.v_proj.weight"}, {"attn_v.bias", "self_attn.v_proj.bias"},
	{"attn_q_norm.weight", "self_attn.q_norm.weight"}, {"attn_k_norm.weight", "self_attn.k_norm.weight"},
	{"attn_q_a.weight", "self_attn.q_a_proj.weight"}, {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
	{"attn_q_b.weight", "self_attn.q_b_proj.weight"},
	{"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"}, {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
	{"attn_kv_b.weight", "self_attn.kv_b_proj.weight"},
	{"attn_k_b.weight", "self_attn.k_b_proj.weight"}, {"attn_v_b.weight", "self_attn.v_b_proj.weight"},
	{"attn_output.weight", "self_attn.o_proj.weight"}, {"attn_output.bias", "self_attn.o_proj.bias"},
	{"indexer.attn_q_b.weight", "self_attn.indexer.wq_b.weight"}, {"indexer.attn_k.weight", "self_attn.indexer.wk.weight"},
	{"indexer.k_norm.weight", "self_attn.indexer.k_norm.weight"}, {"indexer.k_norm.bias", "self_attn.indexer.k_norm.bias"},
	{"indexer.proj.weight", "self_attn.indexer.weights_proj.weight"},
	{"ffn_norm.weight", "post_attention_layernorm.weight"},
	{"ffn_gate.weight", "mlp.gate_proj.weight"}, {"ffn_gate.bias", "mlp.gate_proj.bias"},
	{"ffn_up.weight", "mlp.up_proj.weight"}, {"ffn_up.bias", "mlp.up_proj.bias"},
	{"ffn_down.weight", "mlp.down_proj.weight"}, {"ffn_down.bias", "mlp.down_proj.bias"},
	{"ffn_gate_inp.weight", "mlp.gate.weight"}, {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
	{"ffn_gate_exps.weight", "mlp.experts.*.gate_proj.weight"}, {"ffn_up_exps.weight", "mlp.experts.*.up_proj.weight"},
	{"ffn_down_exps.weight", "mlp.experts.*.down_proj.weight"},
	{"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"}, {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
	{"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
	{"nextn.eh_proj.weight", "eh_proj.weight"}, {"nextn.enorm.weight", "enorm.weight"}, {"nextn.hnorm.weight", "hnorm.weight"},
	{"nextn.embed_tokens.weight", "embed_tokens.weight"},
	{"nextn.shared_head_norm.weight", "shared_head.norm.weight"}, {"nextn.shared_head_head.weight", "shared_head.head.weight"},
}

// pairs makes a table from column a to column b.
func pairs(list [][2]string, a, b int) map[string]string {
	m := make(map[string]string, len(list))
	for _, p := range list {
		m[p[a]] = p[b]
	}
	return m
}

var (
	hfGlobalOf, ggufGlobalOf = pairs(ggufGlobal, 0, 1), pairs(ggufGlobal, 1, 0)
	hfLayerOf, ggufLayerOf   = pairs(ggufLayer, 0, 1), pairs(ggufLayer, 1, 0)

	ggufBlock = regexp.MustCompile(`^blk\.(0|[1-9]\d{0,4})\.(.+)$`)
	hfBlock   = regexp.MustCompile(`^model\.layers\.(0|[1-9]\d{0,4})\.(.+)$`)
)

// hfName is Hugging Face's name of a tensor of a GGUF file, "" where there is none.
func hfName(name string) string {
	if m := ggufBlock.FindStringSubmatch(name); m != nil {
		if own, ok := hfLayerOf[m[2]]; ok {
			return "model.layers." + m[1] + "." + own
		}
		return ""
	}
	return hfGlobalOf[name]
}

// ggufName is llama.cpp's name of a tensor called as in a Source, "" where it has
// none.
func ggufName(name string) string {
	if m := hfBlock.FindStringSubmatch(name); m != nil {
		if own, ok := ggufLayerOf[m[2]]; ok {
			return "blk." + m[1] + "." + own
		}
		return ""
	}
	return ggufGlobalOf[name]
}

// ggufPassedOver names tensors that old files hold although they follow from the
// metadata.
func ggufPassedOver(name string) bool {
	return strings.HasSuffix(name, ".attn_rot_embd") || strings.HasSuffix(name, ".rope_freqs.weight")
}

// ropeFactorsName is the tensor of Llama 3.1's frequency factors.
const ropeFactorsName = "rope_freqs.weight"

// hfTensors gives a file's tensors the names, shapes and order of rows that a Source
// promises. heads are those of q and of k where the rows are permuted, else zeros.
func hfTensors(path, arch string, tensors []Info, heads [2]int) ([]Info, error) {
	list := make([]Info, 0, len(tensors))
	for _, x := range tensors {
		if x.Name == ropeFactorsName || ggufPassedOver(x.Name) {
			continue
		}
		name := hfName(x.Name)
		if name == "" {
			return nil, &FormatError{Path: path, Tensor: x.Name, Problem: fmt.Sprintf("is not known in a model of the architecture %s", quote(arch)),
				Try: "fetch another quantisation of the model: some are of models changed by their makers"}
		}
		shape, ok := flatten(x.Shape, len(x.Shape)-1)
		if !ok || strings.Contains(name, ".experts.*.") && len(x.Shape) != 3 {
			return nil, &FormatError{Path: path, Tensor: x.Name, Problem: fmt.Sprintf("has the shape %v, which it should not have", x.Shape), Try: ggufDamaged}
		}
		x.Name, x.Shape, x.Heads = name, shape, headsOf(name, heads)
		list = append(list, x)
	}
	return list, nil
}

// flatten makes a matrix of all dimensions but the last one; vectors stay.
func flatten(shape []int, last int) ([]int, bool) {
	if last == 0 {
		return shape, true
	}
	rows, ok := elements(shape[:last])
	return []int{rows, shape[last]}, ok
}

// headsOf is the number of heads by which llama.cpp orders the rows of a tensor of
// the llama architecture, 0 for most.
func headsOf(name string, heads [2]int) int {
	switch {
	case strings.Contains(name, ".self_attn.q_proj."):
		return heads[0]
	case strings.Contains(name, ".self_attn.k_proj."):
		return heads[1]
	}
	return 0
}

// layerOf is the layer a tensor belongs to, by llama.cpp's name; -1 outside layers.
func layerOf(name string) int {
	if m := ggufBlock.FindStringSubmatch(name); m != nil {
		n, _ := strconv.Atoi(m[1])
		return n
	}
	return -1
}
