package model

import "slices"

// Batch is Seqs sequences of SeqLen tokens, one after the other.
type Batch struct {
	Seqs, SeqLen int
	Tokens       []int32 // [Seqs*SeqLen]
	// Targets[d][i] is the token d+1 places after Tokens[i], -1 where there is
	// none; one list for the main model and one for each MTP module.
	Targets [][]int32
}

// Lens are the sequences' lengths.
func (b Batch) Lens() []int { return slices.Repeat([]int{b.SeqLen}, b.Seqs) }

// StepOptions says how losses enter the gradients.
type StepOptions struct {
	MTPLambda float32 // weight of the MTP losses' mean; 0 leaves the modules out
	AuxAlpha  float32 // weight of the sequence-wise balance loss
	Scale     float32 // 1/number of micro-batches
	Recompute bool    // keep only the layers' inputs and run each layer again in the backward
}

// StepResult is what a pass found.
type StepResult struct {
	Loss, MTPLoss float64   // mean nats per target
	Tokens        int       // targets of the main loss
	Loads         [][]int32 // per MoE layer, MTP's last: tokens that chose each expert
}

// CountTargets is the number of rows that have a target.
func CountTargets(target []int32) int {
	n := 0
	for _, t := range target {
		if t >= 0 {
			n++
		}
	}
	return n
}
