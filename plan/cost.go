package plan

import "sonde/model"

// Run is a training run to estimate.
type Run struct {
	// Tokens is how many tokens are trained on, in sequences of SeqLen (0: 4096, or
	// less if the model's positions end before).
	Tokens float64
	SeqLen int
	// Machine is what it runs on, and Devices how many.
	Machine Machine
	Devices int
	// ExtraHours are device hours beside the run's own, such as the extension of the
	// context and post-training.
	ExtraHours float64
}

// Machine is a device: its name, the operations per second that it sustains in
// training over a whole run (model FLOPs, nothing recomputed counted), its peak in
// the format of training, both in TFLOPS, and what an hour of it costs in dollars.
type Machine struct {
	Name           string  `json:"name"`
	TFLOPS         float64 `json:"sustained_tflops"`
	PeakTFLOPS     float64 `json:"peak_tflops"`
	DollarsPerHour float64 `json:"dollars_per_hour"`
}

// H800 is the V3 report's machine: 2.664M hours for 14.8T tokens come to 386.5 TFLOPS
// with attention counted as causal ("Insights into DeepSeek-V3", arXiv 2505.09343,
// table 4, measures 385 over a step); the peak is bfloat16's, the price the report's.
func H800() Machine {
	return Machine{Name: "H800", TFLOPS: 386.5, PeakTFLOPS: 989, DollarsPerHour: 2}
}

// V3Run is the V3 report's pre-training: 14.8T tokens on 2048 H800, and 119K + 5K
// hours for context and post-training (table 1).
func V3Run() Run {
	return Run{Tokens: 14.8e12, Machine: H800(), Devices: 2048, ExtraHours: 124e3}
}

// Cost is what a Run comes to. FLOPs and the times are the run's own; DollarsInAll
// has the extra hours' price in it. The main model's operations are counted, not the
// MTP modules', as the reports count.
type Cost struct {
	Tokens           float64 `json:"tokens"`
	SeqLen           int     `json:"seq_len"`
	Devices          int     `json:"devices"`
	Machine          Machine `json:"machine"`
	FLOPs            float64 `json:"flops"`
	DeviceHours      float64 `json:"device_hours"`
	HoursPerTrillion float64 `json:"device_hours_per_trillion_tokens"`
	Days             float64 `json:"days"`
	TokensPerSecond  float64 `json:"tokens_per_second_per_device"`
	Utilisation      float64 `json:"model_flops_utilisation"`
	// TFLOPS6N is the rate by the rule of thumb of 6 operations per active
	// parameter and token, which leaves attention out.
	TFLOPS6N     float64 `json:"tflops_by_6n"`
	ExtraHours   float64 `json:"extra_device_hours"`
	Dollars      float64 `json:"dollars"`
	DollarsInAll float64 `json:"dollars_in_all"`
}

func (run Run) cost(c model.Config) Cost {
	if run.SeqLen == 0 {
		run.SeqLen = min(defaultSeqLen, c.Context())
	}
	m := run.Machine
	perToken := 3 * c.FlopsPerToken(run.SeqLen, true)
	perSecond := m.TFLOPS * 1e12 / perToken
	hours := run.Tokens / perSecond / 3600
	k := Cost{Tokens: run.Tokens, SeqLen: run.SeqLen, Devices: run.Devices, Machine: m, FLOPs: perToken * run.Tokens, DeviceHours: hours,
		HoursPerTrillion: 1e12 / perSecond / 3600, TokensPerSecond: perSecond, ExtraHours: run.ExtraHours}
	k.TFLOPS6N = 6 * float64(c.ActiveParams()) * perSecond / 1e12
	if run.Devices > 0 {
		k.Days = hours / float64(run.Devices) / 24
	}
	if m.PeakTFLOPS > 0 {
		k.Utilisation = m.TFLOPS / m.PeakTFLOPS
	}
	k.Dollars = hours * m.DollarsPerHour
	k.DollarsInAll = (hours + run.ExtraHours) * m.DollarsPerHour
	return k
}
