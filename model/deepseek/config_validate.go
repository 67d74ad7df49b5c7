package deepseek

import (
	"fmt"

	"sonde/model"
)

// limit bounds every size, so that products of two fit easily in 64 bits.
const limit = 1 << 24

// Validate reports values that contradict each other.
func (c *Config) Validate() error {
	sizes := []field{{"vocab_size", &c.VocabSize, true}, {"hidden_size", &c.HiddenSize, true}, {"intermediate_size", &c.IntermediateSize, true},
		{"moe_intermediate_size", &c.MoEIntermediateSize, true}, {"num_hidden_layers", &c.NumHiddenLayers, true},
		{"num_attention_heads", &c.NumAttentionHeads, true}, {"n_routed_experts", &c.NRoutedExperts, true}, {"kv_lora_rank", &c.KVLoraRank, true},
		{"qk_rope_head_dim", &c.QKRopeHeadDim, true}, {"qk_nope_head_dim", &c.QKNopeHeadDim, true}, {"v_head_dim", &c.VHeadDim, true},
		{"n_group", &c.NGroup, true}, {"topk_group", &c.TopKGroup, true}, {"num_experts_per_tok", &c.NumExpertsPerTok, true},
		{"max_position_embeddings", &c.MaxPositionEmbedding, true}, {"num_nextn_predict_layers", &c.NumNextnPredict, false},
		{"n_shared_experts", &c.NSharedExperts, false}, {"first_k_dense_replace", &c.FirstKDenseReplace, false}, {"q_lora_rank", &c.QLoraRank, c.Arch == V32},
		{"index_n_heads", &c.IndexNHeads, c.Arch == V32}, {"index_head_dim", &c.IndexHeadDim, c.Arch == V32}, {"index_topk", &c.IndexTopK, c.Arch == V32}}
	for _, s := range sizes {
		if v := *s.ptr.(*int); v < 0 || v > limit || (s.required && v == 0) {
			return model.BadKey(s.key, "is %d; expected a number between %d and %d", v, b2i(s.required), limit)
		}
	}
	switch {
	case c.NumHiddenLayers > 1000 || c.NumNextnPredict > 64 || (c.NumHiddenLayers+c.NumNextnPredict)*c.NRoutedExperts > 1<<16:
		return fmt.Errorf("%w: %d layers, %d MTP modules, %d experts: beyond any model", model.ErrConfig, c.NumHiddenLayers, c.NumNextnPredict, c.NRoutedExperts)
	case c.NRoutedExperts*c.MoEIntermediateSize > limit || c.NumAttentionHeads*(c.QKNopeHeadDim+max(c.QKRopeHeadDim, c.VHeadDim)) > limit || c.NSharedExperts*c.MoEIntermediateSize > limit:
		return fmt.Errorf("%w: %d experts of width %d, %d heads of width %d+%d+%d: beyond any model", model.ErrConfig, c.NRoutedExperts, c.MoEIntermediateSize,
			c.NumAttentionHeads, c.QKNopeHeadDim, c.QKRopeHeadDim, c.VHeadDim)
	case c.Arch != V32 && c.IndexTopK+c.IndexNHeads+c.IndexHeadDim > 0:
		return model.BadKey("index_topk", "is %d, but %s has no indexer", c.IndexTopK, c.Architecture())
	case c.Arch == V32 && (c.IndexHeadDim < c.QKRopeHeadDim || c.IndexNHeads*c.IndexHeadDim > limit):
		return model.BadKey("index_head_dim", "is %d, of which the first %d carry positions, in %d heads: that does not fit", c.IndexHeadDim, c.QKRopeHeadDim, c.IndexNHeads)
	case c.NumKeyValueHeads != c.NumAttentionHeads:
		return model.BadKey("num_key_value_heads", "is %d but num_attention_heads is %d; MLA has one key per head", c.NumKeyValueHeads, c.NumAttentionHeads)
	case c.QKRopeHeadDim%2 != 0:
		return model.BadKey("qk_rope_head_dim", "is %d; rotary positions need pairs", c.QKRopeHeadDim)
	case c.NRoutedExperts%c.NGroup != 0:
		return model.BadKey("n_group", "is %d, which does not divide the %d routed experts", c.NGroup, c.NRoutedExperts)
	case c.Arch != V2 && c.NGroup > 1 && c.NRoutedExperts/c.NGroup < 2:
		return model.BadKey("n_group", "leaves %d experts a group; a group's score needs two", c.NRoutedExperts/c.NGroup)
	case c.TopKGroup > c.NGroup:
		return model.BadKey("topk_group", "is %d of only %d groups", c.TopKGroup, c.NGroup)
	case c.NumExpertsPerTok > c.TopKGroup*(c.NRoutedExperts/c.NGroup):
		return model.BadKey("num_experts_per_tok", "is %d, but the %d kept groups hold %d experts", c.NumExpertsPerTok, c.TopKGroup, c.TopKGroup*(c.NRoutedExperts/c.NGroup))
	case c.FirstKDenseReplace > c.NumHiddenLayers:
		return model.BadKey("first_k_dense_replace", "is %d of only %d layers", c.FirstKDenseReplace, c.NumHiddenLayers)
	case c.BOSTokenID >= c.VocabSize || c.EOSTokenID >= c.VocabSize:
		return model.BadKey("eos_token_id", "or bos_token_id (%d, %d) is outside the vocabulary of %d", c.EOSTokenID, c.BOSTokenID, c.VocabSize)
	case !(c.RMSNormEps > 0) || !(c.Rope.Theta > 1) || !(c.RoutedScalingFactor > 0) || !(c.InitializerRange > 0):
		return fmt.Errorf("%w: rms_norm_eps, routed_scaling_factor and initializer_range must be positive, rope_theta above 1", model.ErrConfig)
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
