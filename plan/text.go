package plan

import (
	"fmt"
	"io"
	"strings"
)

// WriteText prints the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-24s "+format+"\n", append([]any{what}, args...)...)
	}
	s := r.Shape
	if s.Experts > 0 {
		fmt.Fprintf(&b, "%d layers (%d dense first), hidden %d, %d heads, %d experts of which %d and %d shared, %d MTP, vocabulary %d\n",
			s.Layers, s.DenseLayers, s.Hidden, s.Heads, s.Experts, s.ExpertsPerTok, s.SharedExperts, s.MTPDepth, s.Vocab)
	} else {
		fmt.Fprintf(&b, "%d layers, hidden %d, %d heads over %d of keys, vocabulary %d\n", s.Layers, s.Hidden, s.Heads, s.KVHeads, s.Vocab)
	}
	fmt.Fprintln(&b, "parameters")
	line("total", "%s", count(float64(r.Params.Total)))
	for _, p := range r.Breakdown {
		line("  "+p.Kind, "%-9s active %s", count(float64(p.Params)), count(float64(p.Active)))
	}
	line("active per token", "%s", count(float64(r.Params.Active)))
	if s.MTPDepth > 0 {
		line("MTP", "%s more, with copies of embedding and head %s in a checkpoint", count(float64(r.Params.MTP)), count(float64(r.Params.Checkpoint)))
	}
	fmt.Fprintln(&b, "memory")
	line("weights", "%s bf16, %s fp8, %s f32", bytes(r.Weights.BF16), bytes(r.Weights.FP8), bytes(r.Weights.F32))
	line("gradients, moments", "%s, %s (f32)", bytes(r.Training.Gradients), bytes(r.Training.Moments))
	line("training", "%s all f32, %s with bf16 weights, %s by V3's recipe; activations not counted",
		bytes(r.Training.F32), bytes(r.Training.BF16), bytes(r.Training.V3))
	if r.KV.Latent > 0 {
		line("KV per token", "%s latent (16 bit; f32 %s), %s expanded", bytes(r.KV.Latent), bytes(r.KV.LatentF32), bytes(r.KV.Expanded))
	} else {
		line("KV per token", "%s (16 bit; f32 %s)", bytes(r.KV.Expanded), bytes(r.KV.Cache))
	}
	fmt.Fprintf(&b, "FLOPs per token, sequences of %d\n", r.FLOPs.SeqLen)
	line("forward", "%s", flops(r.FLOPs.Forward))
	if s.MTPDepth > 0 {
		line("training", "%s, and %s for MTP", flops(r.FLOPs.Training), flops(r.FLOPs.MTPTraining))
	} else {
		line("training", "%s", flops(r.FLOPs.Training))
	}
	for _, c := range r.Estimates {
		c.write(&b, line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c Cost) write(b *strings.Builder, line func(string, string, ...any)) {
	m := c.Machine
	fmt.Fprintf(b, "%s tokens in sequences of %d on %d x %s at %.4g TFLOPS\n", count(c.Tokens), c.SeqLen, c.Devices, m.Name, m.TFLOPS)
	line("operations", "%s", flops(c.FLOPs))
	line("device hours", "%s (%s per trillion tokens), %.3g days", count(c.DeviceHours), count(c.HoursPerTrillion), c.Days)
	line("tokens per second", "%.4g a device", c.TokensPerSecond)
	if c.Utilisation > 0 {
		line("utilisation", "%.1f %% of a peak of %.4g TFLOPS; by 6N %.4g TFLOPS", 100*c.Utilisation, m.PeakTFLOPS, c.TFLOPS6N)
	}
	if m.DollarsPerHour > 0 {
		line("cost", "$%s at $%.2f an hour; with %s hours more, $%s", count(c.Dollars), m.DollarsPerHour, count(c.ExtraHours), count(c.DollarsInAll))
	}
}

// scaled prints four digits with the largest prefix that leaves at least one before
// the point.
func scaled(v float64, units ...string) string {
	i := 0
	for v >= 999.95 && i < len(units)-1 {
		v, i = v/1000, i+1
	}
	s := fmt.Sprintf("%.1f", v)
	if v < 99.995 {
		s = fmt.Sprintf("%.2f", v)
	}
	if v < 9.9995 {
		s = fmt.Sprintf("%.3f", v)
	}
	if i == 0 && v == float64(int64(v)) {
		s = fmt.Sprint(int64(v))
	}
	return s + units[i]
}

func count(v float64) string { return scaled(v, "", " K", " M", " B", " T") }
func bytes(v int64) string   { return scaled(float64(v), " B", " kB", " MB", " GB", " TB", " PB") }
func flops(v float64) string {
	return scaled(v, " FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP", " PFLOP", " EFLOP", " ZFLOP", " YFLOP")
}
