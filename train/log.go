package train

import (
	"encoding/json"
	"fmt"
	"os"
)

// Line is one step of pre-training as log.jsonl holds it.
type Line struct {
	Step        int
	Tokens      int64   // learned from so far
	Loss        float64 // nats per token
	BPB         float64 // bits per byte of the training text
	MTPLoss     float64 // nats per token
	LR          float64
	GradNorm    float64 // before clipping
	LoadMaxMean float64 // of the layer with the worst balance
	TokensPerS  float64
	MFU         float64   // share of the machine's peak, 0 where that is unknown
	HeldoutBPB  *float64  // nil where the step did not look
	Loads       [][]int64 // per MoE layer: tokens that chose each expert
}

// numbers names the fields of l; pointers reach them.
func (l *Line) numbers() []struct {
	name  string
	value *float64
} {
	return []struct {
		name  string
		value *float64
	}{{"loss", &l.Loss}, {"bits_per_byte", &l.BPB}, {"mtp_loss", &l.MTPLoss}, {"lr", &l.LR}, {"grad_norm", &l.GradNorm},
		{"load_max_mean", &l.LoadMaxMean}, {"tokens_per_s", &l.TokensPerS}, {"mfu", &l.MFU}}
}

// heldoutBPB is the name of Line.HeldoutBPB.
const heldoutBPB = "heldout_bpb"

// record is the line for the journal.
func (l *Line) record() Record {
	r := Record{Step: l.Step, Loads: l.Loads, Numbers: []Number{{"tokens", float64(l.Tokens)}}}
	for _, n := range l.numbers() {
		r.Numbers = append(r.Numbers, Number{n.name, *n.value})
	}
	if l.HeldoutBPB != nil {
		r.Set(heldoutBPB, *l.HeldoutBPB)
	}
	return r
}

// lineOf is record's inverse.
func lineOf(r Record) Line {
	l := Line{Step: r.Step, Loads: r.Loads}
	tokens, _ := r.Get("tokens")
	l.Tokens = int64(tokens)
	for _, n := range l.numbers() {
		*n.value, _ = r.Get(n.name)
	}
	if v, ok := r.Get(heldoutBPB); ok {
		l.HeldoutBPB = &v
	}
	return l
}

// ReadLog returns the lines of a pre-training run's log.jsonl.
func ReadLog(run string) ([]Line, error) {
	steps, err := ReadJournal(run)
	lines := make([]Line, 0, len(steps))
	for _, r := range steps {
		lines = append(lines, lineOf(r))
	}
	return lines, err
}

// tmpSuffix marks what is not whole yet.
const tmpSuffix = ".sonde-tmp"

// WriteFile replaces a file as a whole: temporary, sync, rename.
func WriteFile(name string, raw []byte) error {
	tmp := name + tmpSuffix // cleared away with the run's other leftovers
	f, err := os.Create(tmp)
	if err == nil {
		_, err = f.Write(raw)
		if err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(tmp, name)
		}
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// WriteJSON is WriteFile of v as indented JSON.
func WriteJSON(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return WriteFile(name, append(raw, '\n'))
}
