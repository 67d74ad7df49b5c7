package deepseek

import (
	"encoding/json"
	"slices"

	"sonde/model"
)

// readSpecial reads the keys that need more than a look at their value.
func (c *Config) readSpecial(keys model.Keys) []error {
	errs := []error{c.readQuantization(keys), c.readRouter(keys), c.readEOS(keys), c.checkHeadDim(keys), c.checkLayers(keys)}
	if keys.Has("q_lora_rank") {
		if err := keys.Read("q_lora_rank", &c.QLoraRank); err != nil || c.QLoraRank <= 0 {
			errs = append(errs, model.BadKey("q_lora_rank", "is %s, expected null or a positive number", keys.Show("q_lora_rank")))
		}
	}
	if keys.Has("compression_config") {
		errs = append(errs, model.BadKey("compression_config", "is not supported; use a checkpoint in bf16 or DeepSeek's FP8"))
	}
	var err error
	c.Rope, err = model.ReadRope(keys, 10000, c.MaxPositionEmbedding, c.QKRopeHeadDim/2)
	return append(errs, err)
}

// readRouter reads how experts are scored and chosen, which goes with the architecture.
func (c *Config) readRouter(keys model.Keys) error {
	scoring, methods := "sigmoid", []string{"noaux_tc"}
	if c.Arch == V2 {
		scoring, methods = "softmax", []string{greedy, groupLimited}
	}
	found := scoring
	c.TopKMethod = methods[0]
	if err := keys.Read("scoring_func", &found); err != nil {
		return err
	}
	if err := keys.Read("topk_method", &c.TopKMethod); err != nil {
		return err
	}
	switch {
	case found != scoring:
		return model.BadKey("scoring_func", "is %q; %s has %q, and another value changes the result", found, c.Arch, scoring)
	case !slices.Contains(methods, c.TopKMethod):
		return model.BadKey("topk_method", "is %q; %s has %q, and another value changes the result", c.TopKMethod, c.Arch, methods)
	}
	return nil
}

// readEOS reads the token that ends a text; of several the first.
func (c *Config) readEOS(keys model.Keys) error {
	var list []int
	if json.Unmarshal(keys["eos_token_id"], &list) == nil && len(list) > 0 {
		c.EOSTokenID = list[0]
		return nil
	}
	return keys.Read("eos_token_id", &c.EOSTokenID)
}

// checkHeadDim compares a value that follows from others with them.
func (c *Config) checkHeadDim(keys model.Keys) error {
	n := c.QKNopeHeadDim + c.QKRopeHeadDim
	if err := keys.Read("qk_head_dim", &n); err != nil || n != c.QKNopeHeadDim+c.QKRopeHeadDim {
		return model.BadKey("qk_head_dim", "is %s, but qk_nope_head_dim and qk_rope_head_dim make %d; leave it out",
			keys.Show("qk_head_dim"), c.QKNopeHeadDim+c.QKRopeHeadDim)
	}
	return nil
}

// checkLayers compares the kinds of layers, listed one by one, with what the other keys
// say of them.
func (c *Config) checkLayers(keys model.Keys) error {
	var attention, feed []string
	if err := keys.Read("layer_types", &attention); err != nil {
		return err
	}
	if err := keys.Read("mlp_layer_types", &feed); err != nil {
		return err
	}
	for i, kind := range attention {
		if kind != "indexed_attention" || c.Arch != V32 {
			return model.BadKey("layer_types", "makes layer %d %q; only V3.2's \"indexed_attention\" is supported", i, kind)
		}
	}
	if feed == nil {
		return nil
	}
	if len(feed) != c.NumHiddenLayers {
		return model.BadKey("mlp_layer_types", "lists %d layers of %d", len(feed), c.NumHiddenLayers)
	}
	for i, kind := range feed {
		if dense := i < c.FirstKDenseReplace; dense != (kind == "dense") || !dense && kind != "sparse" {
			return model.BadKey("mlp_layer_types", "makes layer %d %q, but first_k_dense_replace is %d", i, kind, c.FirstKDenseReplace)
		}
	}
	return nil
}

// readQuantization accepts DeepSeek's FP8: e4m3 in blocks with factors of their own.
// How activations would be quantised does not matter here: they are not.
func (c *Config) readQuantization(keys model.Keys) error {
	const key = "quantization_config"
	if !keys.Has(key) {
		return nil
	}
	var q struct {
		Method string `json:"quant_method"`
		Format string `json:"fmt"`
		Scale  string `json:"scale_fmt"`
		Block  []int  `json:"weight_block_size"`
	}
	if err := keys.Read(key, &q); err != nil {
		return err
	}
	if q.Method != "fp8" || q.Format != "" && q.Format != "e4m3" || q.Scale != "" && q.Scale != "ue8m0" && q.Scale != "float" ||
		len(q.Block) != 2 || q.Block[0] <= 0 || q.Block[1] <= 0 {
		return model.BadKey(key, "is %s; only block-scaled fp8 e4m3 is supported", keys.Show(key))
	}
	c.FP8Block = [2]int{q.Block[0], q.Block[1]}
	return nil
}
