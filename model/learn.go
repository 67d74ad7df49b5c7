package model

import (
	"sonde/compute"
	"sonde/nn"
)

// Packed is a batch of sequences of different lengths side by side, of which each sees
// itself alone: supervised fine-tuning's samples, a rollout's texts.
type Packed struct {
	Lens   []int   // tokens of each sequence; they add up to len(Tokens)
	Tokens []int32 // [T]
	// Prefix, where not nil, says for each sequence which earlier one it continues, seeing
	// all of that one's tokens before its own, -1 for none: the samples of a group share
	// their prompt's rows. One that is continued continues none.
	Prefix []int
	// Targets are the tokens after each of Tokens whose probability is asked for,
	// negative where none is: a prompt's, the place after a sequence's end.
	Targets []int32
	// Temperature divides the logits before their softmax, as sampling did; 0 counts as 1.
	Temperature float32
	// Allowed, where not nil, are for each row the ids that sampling could have drawn
	// (top-k, top-p), ascending, nil for all of them: the softmax runs over these alone
	// (V3.2's keep sampling mask).
	Allowed [][]int32
	// Routes, where not nil, are for each MoE layer the experts of every row [T*K],
	// ascending, instead of the router's own choice (V3.2's keep routing, R3).
	Routes [][]int32
}

// Weights are tensors in the shapes of a model's trained weights: gradients, moments,
// masters.
type Weights interface {
	// Blocks lists each trained weight once, the experts of a layer as one tensor. The
	// order is the same for all that belong to one model.
	Blocks() []nn.Param
}

// Learner is a Net that can be trained.
type Learner interface {
	Net
	Weights
	// NewTwin allocates F32 tensors for the trained weights, zeroed.
	NewTwin(ar *compute.Arena) Weights
	// Learn begins a pass over p with its records in ar; the caller returns ar to its
	// mark when the pass is no longer needed. Of o it heeds AuxAlpha, Scale and Recompute.
	Learn(ar *compute.Arena, p Packed, o StepOptions) Pass
	// NewRollout is NewSequence for texts that will be learned from: the logits that
	// Forward gives for it equal, to the last bit, those of Learn over the same tokens.
	NewRollout(maxLen int) Sequence
	// Biases lists the routers' selection biases [1, E], none for dense models.
	Biases() []compute.Tensor
}

// Trainer is a Learner that can begin from nothing: it is drawn at random and learns from
// sequences of one length, every token of them, with multi-token prediction where it has
// modules for it.
type Trainer interface {
	Learner
	Drawn
	// LossAndGrad runs forward and backward over b and adds to grads, a NewTwin's, the
	// gradient of Scale times all losses. Records live in ar, which is returned to where
	// it stood.
	LossAndGrad(ar *compute.Arena, b Batch, grads Weights, o StepOptions) StepResult
	// Loss is LossAndGrad without gradients.
	Loss(ar *compute.Arena, b Batch, o StepOptions) StepResult
}

// Drawn are Weights that can be drawn anew: a whole model's, or its masters'.
type Drawn interface {
	Weights
	// Init draws them at random; a seed gives the same everywhere.
	Init(seed uint64)
}

// UpdateBiases moves every expert's selection bias by gamma against its load
// (DeepSeek-V3, section 2.1.2, auxiliary-loss-free balancing): up where it had fewer
// tokens than the mean, down where more. loads are Pass.Loads, summed over the passes of
// a step.
func UpdateBiases[N int32 | int64](l Learner, loads [][]N, gamma float32) {
	for i, b := range l.Biases() {
		bias := make([]float32, b.NumCols())
		l.Backend().DownloadF32(bias, b)
		total := N(0)
		for _, n := range loads[i] {
			total += n
		}
		for e, n := range loads[i] {
			switch d := n*N(len(loads[i])) - total; {
			case d > 0:
				bias[e] -= gamma
			case d < 0:
				bias[e] += gamma
			}
		}
		l.Backend().UploadF32(b, bias)
	}
}

// Pass is a forward pass whose backward is still to come.
type Pass interface {
	// LogProbs gives each target's log-probability, 0 where there is none, and the
	// entropy of each such row's distribution, both [T]. Called first it runs the
	// vocabulary's product without gradients; after Backward it costs nothing.
	LogProbs() (logp, entropy []float32)
	// Backward adds to grads the gradient of sum over t of coef[t]*log p[t], plus that of
	// the balance loss. It may be called once, with or without LogProbs before it. nil
	// grads mean that no weight is trained: gradients go to the layers' inputs, and what
	// watches the weights from beside them (nn.WeightObserver) is shown its share.
	Backward(coef []float32, grads Weights)
	// Loads are the tokens that chose each expert, per MoE layer.
	Loads() [][]int32
}

// Forker is a Sequence that can take over the beginning of another of the same model:
// the samples of a group share their prompt's keys.
type Forker interface {
	Sequence
	// Fork makes the sequence the first n tokens of from.
	Fork(from Sequence, n int)
}
