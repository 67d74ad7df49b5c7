package main

import (
	"errors"

	"sonde/model/lora"
)

// adapterFlag puts an adapter on a model.
type adapterFlag struct {
	Adapter string `help:"A folder with a low-rank adapter of the model (LoRA, in PEFT's layout) to put on it." placeholder:"FOLDER"`
}

// loraFlags say that an adapter is trained instead of the model's own weights.
type loraFlags struct {
	LoRA        int      `name:"lora" help:"Train a low-rank adapter of this rank and leave the model's own weights as they are; 8 to 64 are usual. By default all weights are trained." placeholder:"RANK"`
	LoRAAlpha   float64  `name:"lora-alpha" help:"The adapter's scale, which its rank divides (default: twice the rank)." placeholder:"ALPHA"`
	LoRATargets []string `name:"lora-targets" help:"The layers that are adapted, by the ends of their names, such as q_proj,v_proj (default: all-linear, every one of attention and of dense feed-forward)." placeholder:"NAME"`
	RSLoRA      bool     `name:"rslora" help:"Divide alpha by the rank's square root, which keeps high ranks learning."`
}

// options are the adapter's, nil where all weights are trained.
func (f loraFlags) options(seed uint64) (*lora.Options, error) {
	if f.LoRA == 0 {
		if f.LoRAAlpha != 0 || len(f.LoRATargets) > 0 || f.RSLoRA {
			return nil, errors.New("--lora-alpha, --lora-targets and --rslora describe an adapter: give its rank with --lora")
		}
		return nil, nil
	}
	o := &lora.Options{Rank: f.LoRA, Alpha: f.LoRAAlpha, Targets: f.LoRATargets, RSLoRA: f.RSLoRA, Seed: seed}
	return o, o.Validate()
}
