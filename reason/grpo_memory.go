package reason

import (
	"sonde/checkpoint"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/train"
)

// textBytes is what a token of a text being written takes.
func textBytes(c model.Config) int64 {
	if d, ok := c.(*deepseek.Config); ok { // keys and values in the expanded form
		per := d.NumAttentionHeads*(d.QKNopeHeadDim+d.VHeadDim) + d.QKRopeHeadDim + d.IndexHeadDim
		return 4 * int64(d.NumHiddenLayers*per)
	}
	return c.KVBytesPerToken()
}

// stateMemory says what the run will need, before it is allocated, and chooses how many
// texts are written side by side.
func (r *grpo) stateMemory() {
	cfg, o, trained := r.model.Cfg, r.o, int64(0)
	for _, b := range r.model.Net.Blocks() {
		trained += int64(b.T.Len())
	}
	perWeight := int64(12) // gradient and two moments
	if o.Compute == "bf16" {
		perWeight += 4
	}
	if o.KL > 0 {
		perWeight += 8
	}
	machine, text := checkpoint.MachineMemory(), textBytes(cfg)*int64(min(cfg.Context(), 2*o.MaxTokens))
	r.slots = o.Slots
	if r.slots == 0 {
		r.slots = o.Prompts * o.Group
		if most := machine / 8; text > 0 && most > 0 {
			r.slots = int(max(min(int64(r.slots), most/text), 1))
		}
	}
	weights, optimiser, texts, records := int64(r.model.ar.Used()), trained*perWeight, text*int64(r.slots), passBytes(r.model, o.Micro, o.Recompute)
	total := weights + optimiser + texts + records
	r.p.Note("model      %s parameters, %s trained", train.Thousands(float64(cfg.TotalParams())), train.Thousands(float64(trained)))
	r.p.Note("memory     about %s: weights %s, gradients and moments %s, %d texts side by side %s, passes of %d tokens %s",
		gigabytes(total), gigabytes(weights), gigabytes(optimiser), r.slots, gigabytes(texts), o.Micro, gigabytes(records))
	if machine > 0 && total > machine {
		r.p.Note("warning    this machine has %s: %s", gigabytes(machine), "a smaller --micro, --recompute, fewer --slots or an adapter (--lora 16) need less")
	}
}
