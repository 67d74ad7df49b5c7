package train

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sonde/model/deepseek"
)

func TestPresetsResolve(t *testing.T) {
	for name := range presetDefaults {
		cfg, err := deepseek.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Preset: name, Steps: 1}
		if err := o.resolve(cfg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		v := reflect.ValueOf(o)
		for _, f := range []string{"SeqLen", "Batch", "BatchStart", "Micro", "LR", "Warmup", "Constant", "HeldoutBytes", "Gamma", "Alpha", "MTPLambda", "Seed", "Clip", "Decay", "Keep"} {
			if v.FieldByName(f).IsZero() {
				t.Errorf("%s: %s has no default", name, f)
			}
		}
	}
}

func TestZeroSwitchesOff(t *testing.T) {
	cfg, err := deepseek.Preset("nano")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Preset: "nano", Steps: 1, Gamma: ptr(0.0), Alpha: ptr(0.0), MTPLambda: ptr(0.0)}
	if err := o.resolve(cfg); err != nil {
		t.Fatal(err)
	}
	if *o.Gamma != 0 || *o.Alpha != 0 || *o.MTPLambda != 0 || cfg.NumNextnPredict != 0 {
		t.Errorf("gamma %v, alpha %v, lambda %v, %d modules: all were switched off", *o.Gamma, *o.Alpha, *o.MTPLambda, cfg.NumNextnPredict)
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	for want, o := range map[string]Options{
		"--minutes":          {},
		"only one":           {Steps: 1, Minutes: 1},
		"positive":           {Steps: -1},
		"--lr is -1":         {Steps: 1, LR: -1},
		"--heldout is 2":     {Steps: 1, Heldout: ptr(2.0)},
		"--clip is -1":       {Steps: 1, Clip: ptr(-1.0)},
		"--vocab is 10":      {Steps: 1, Vocab: 10},
		"--seq-len is 5000":  {Steps: 1, SeqLen: 5000},
		"--micro is 100":     {Steps: 1, Micro: 100},
		"--batch is 3000":    {Steps: 1, Batch: 3000},
		"--batch-start is":   {Steps: 1, BatchStart: 1 << 20},
		"--compute is int8":  {Steps: 1, Compute: "int8"},
		"choose nano":        {Steps: 1, Preset: "v3"},
		"--gamma is -1":      {Steps: 1, Gamma: ptr(-1.0)},
		"--save-every is -2": {Steps: 1, SaveEvery: -2},
		"--clip is 0":        {Steps: 1, Clip: ptr(0.0)},
		"--heldout is 0":     {Steps: 1, Heldout: ptr(0.0)},
	} {
		cfg, err := deepseek.Preset("nano")
		if err != nil {
			t.Fatal(err)
		}
		if o.Preset == "" {
			o.Preset = "nano"
		}
		wantError(t, o.resolve(cfg), want)
	}
}

func TestConflictsNameTheFlag(t *testing.T) {
	stored := Options{Preset: "nano", Steps: 100, Seed: ptr[uint64](1), Gamma: ptr(0.001), Data: []string{"a"}, SaveEvery: 10}
	same := Options{Preset: "nano", Gamma: ptr(0.001), Data: []string{"a"}, SaveEvery: 20, Recompute: true, Out: "elsewhere"}
	if err := Conflicts(&same, &stored); err != nil {
		t.Errorf("options that may differ are refused: %v", err)
	}
	other := Options{Seed: ptr[uint64](2), Gamma: ptr(0.0), Data: []string{"b"}, Steps: 7}
	wantError(t, Conflicts(&other, &stored), "--seed is 2, the run has 1", "--gamma is 0, the run has 0.001", "--data", "--steps is 7, the run has 100", "--out")
	Fill(&same, stored)
	if same.Steps != 100 || same.SaveEvery != 20 {
		t.Errorf("adopted %d steps, saving every %d: expected 100 and the new 20", same.Steps, same.SaveEvery)
	}
}

// Every option is stored, explained, and called on the command line what messages call it.
func TestOptionsCarryTheirTags(t *testing.T) {
	typ := reflect.TypeFor[Options]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() {
			continue
		}
		json, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Tag.Get("help") == "" || json == "" {
			t.Errorf("%s lacks help or json", f.Name)
		}
		if name := f.Tag.Get("name"); name != "" && json != "-" && strings.ReplaceAll(json, "_", "-") != name {
			t.Errorf("%s is %s in run.json and --%s on the command line", f.Name, json, name)
		}
	}
}

func TestMistakesLeaveNoFolder(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	c := tinyConfig(t, out, 5)
	c.Data = []string{filepath.Join(t.TempDir(), "gone")}
	_, err := Run(t.Context(), c, t.Output())
	wantError(t, err, "gone", "does not exist")
	c = tinyConfig(t, out, 5)
	c.LR = -1
	_, err = Run(t.Context(), c, t.Output())
	wantError(t, err, "--lr")
	c = tinyConfig(t, out, 5)
	put(t, c.ModelFile, `{"hidden_size": "wide"}`)
	_, err = Run(t.Context(), c, t.Output())
	wantError(t, err, c.ModelFile)
	if exists(out) {
		t.Error("a run that could not begin left its folder")
	}
}

// Zero is a value like any other where it is a choice, and an error where it is none.
func TestZeroIsNotLeftOut(t *testing.T) {
	o := Options{Preset: "nano", Steps: 10, Seed: ptr[uint64](0), Warmup: ptr(0), Ramp: ptr(0.0), LREnd: ptr(0.0), Constant: ptr(0.0), Decay: ptr(0.0)}
	cfg, _, err := o.model()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.resolve(cfg); err != nil {
		t.Fatal(err)
	}
	if *o.Seed != 0 || *o.Warmup != 0 || *o.Ramp != 0 || *o.LREnd != 0 || *o.Constant != 0 || *o.Decay != 0 || *o.Clip != 1 {
		t.Errorf("defaults took the place of zeroes: %+v", o)
	}
	s := newSchedule(&o, 10)
	if s.At(0) != o.LR || s.At(9) > 1e-12 {
		t.Errorf("the rate goes from %v to %v, expected %v to 0", s.At(0), s.At(9), o.LR)
	}
}
