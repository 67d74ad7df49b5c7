package reason

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sonde/train"
)

// studentConfig is the config.json of a tiny Llama.
func studentConfig(t *testing.T) string {
	t.Helper()
	raw, err := tinyDense(t).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "config.json")
	write(t, name, string(raw))
	return name
}

// distilled is a run of a student of another architecture on the teacher's answers.
func distilled(t *testing.T, teacher string, c SFTConfig, steps int) DistillConfig {
	return DistillConfig{Backend: c.Backend, Mix: sayMix(),
		DistillOptions: DistillOptions{Teacher: teacher, StudentConfig: studentConfig(t), Problems: 200, MaxTokens: 40},
		SFTOptions:     SFTOptions{Out: filepath.Join(t.TempDir(), "student"), Steps: steps, Batch: 600, LR: 8e-3, SampleEvery: -1, Heldout: ptr(0.1)}}
}

// The student learns to repeat letters from the teacher's answers alone.
func distillTeaches(t *testing.T, teacher string, c SFTConfig) {
	d := distilled(t, teacher, c, 120)
	s, err := Distill(t.Context(), d, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if s.Steps != 120 || s.HeldoutLoss == nil || *s.HeldoutLoss > 0.5 {
		t.Fatalf("the student's summary is %+v", s)
	}
	m, err := Open(d.Out, c.Backend, OpenOptions{})
	if err != nil || m.Cfg.Architecture() != "LlamaForCausalLM" {
		t.Fatal(err, m)
	}
	m.Close()
}

// On policy a student that knows little comes nearer to the teacher; with a stop to the
// same bits.
func onPolicyTeaches(t *testing.T, teacher string, c SFTConfig) {
	d := distilled(t, teacher, c, 110)
	if _, err := Distill(t.Context(), d, t.Output()); err != nil {
		t.Fatal(err)
	}
	p := d
	p.DistillOptions = DistillOptions{Teacher: teacher, Student: d.Out, OnPolicy: true, Prompts: 16, Samples: 2, MaxTokens: 30}
	p.SFTOptions = SFTOptions{Out: filepath.Join(t.TempDir(), "whole"), Steps: 30, LR: 5e-3, EvalEvery: 15}
	whole, err := Distill(t.Context(), p, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	steps, err := train.ReadJournal(p.Out)
	if err != nil {
		t.Fatal(err)
	}
	mean := func(steps []train.Record, name string) (sum float64) {
		for _, r := range steps {
			v, _ := r.Get(name)
			sum += v / float64(len(steps))
		}
		return sum
	}
	before, after := mean(steps[:5], "kl"), mean(steps[25:], "kl")
	t.Logf("kl %.4f -> %.4f, right %.2f -> %.2f, held out %.2f", before, after, mean(steps[:5], "accuracy"), mean(steps[25:], "accuracy"), *whole.HeldoutAccuracy)
	if !(after < before/2) || !(mean(steps[25:], "accuracy") > mean(steps[:5], "accuracy")) {
		t.Error("the student does not come nearer to the teacher")
	}
	if _, err := os.Stat(train.RolloutsPath(p.Out, 30)); err != nil {
		t.Error(err)
	}
	want := losses(t, p.Out)
	p.Out = filepath.Join(t.TempDir(), "pieces")
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Distill(ctx, p, &stopAt{"step 1/", cancel})
	cancel()
	if !errors.Is(err, train.ErrInterrupted) || !strings.Contains(err.Error(), "sonde distill --out") {
		t.Fatalf("a cancelled distillation: %v", err)
	}
	if _, err := Distill(t.Context(), DistillConfig{Backend: cpuBackend(t, 2), Mix: sayMix(), Resume: true, SFTOptions: SFTOptions{Out: p.Out}}, t.Output()); err != nil {
		t.Fatal(err)
	}
	if got := losses(t, p.Out); !slices.Equal(got, want) {
		t.Errorf("with a stop\n%s\nwithout\n%s", strings.Join(got[:3], "\n"), strings.Join(want[:3], "\n"))
	}
}

// A token's weight is the teacher's log-probability less the student's, which is zero to
// the last bit where both are one model: nothing is learned from oneself.
func onPolicyOfOneself(t *testing.T, teacher string, c SFTConfig) {
	d := DistillConfig{Backend: c.Backend, Mix: sayMix(), DistillOptions: DistillOptions{Teacher: teacher, Student: teacher, OnPolicy: true, Prompts: 8, MaxTokens: 30},
		SFTOptions: SFTOptions{Out: filepath.Join(t.TempDir(), "same"), Steps: 1, LR: 1e-3}}
	if _, err := Distill(t.Context(), d, t.Output()); err != nil {
		t.Fatal(err)
	}
	steps, _ := train.ReadJournal(d.Out)
	kl, _ := steps[0].Get("kl")
	norm, _ := steps[0].Get("grad_norm")
	if kl != 0 || norm != 0 || math.Signbit(norm) {
		t.Errorf("a model differs from itself by %v, the gradient's norm is %v", kl, norm)
	}
}

func TestDistillRefuses(t *testing.T) {
	be := cpuBackend(t, 1)
	for want, d := range map[string]DistillConfig{
		"Name the teacher":   {SFTOptions: SFTOptions{Tasks: "all"}},
		"only one of":        {SFTOptions: SFTOptions{Tasks: "all"}, DistillOptions: DistillOptions{Teacher: "x", Preset: "r1-dense", Student: "y"}},
		"which problems":     {DistillOptions: DistillOptions{Teacher: "x"}},
		"how many --steps":   {SFTOptions: SFTOptions{Tasks: "all"}, DistillOptions: DistillOptions{Teacher: "x", OnPolicy: true}},
		"--temperature":      {SFTOptions: SFTOptions{Tasks: "all"}, DistillOptions: DistillOptions{Teacher: "x", Temperature: -1}},
		"the teacher":        {SFTOptions: SFTOptions{Tasks: "all"}, DistillOptions: DistillOptions{Teacher: filepath.Join(t.TempDir(), "none")}},
		"--task-examples":    {SFTOptions: SFTOptions{Tasks: "all", TaskExamples: 7}, DistillOptions: DistillOptions{Teacher: "x"}},
		"leave out --data":   {SFTOptions: SFTOptions{Tasks: "all", Steps: 1, Data: []string{"x"}}, DistillOptions: DistillOptions{Teacher: "x", OnPolicy: true}},
		"holds no run to go": {Resume: true},
	} {
		d.Backend, d.Out = be, filepath.Join(t.TempDir(), "run")
		if _, err := Distill(t.Context(), d, t.Output()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, expected %q", err, want)
		}
	}
}
