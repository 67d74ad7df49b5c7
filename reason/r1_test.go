package reason

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/train"
)

// tinyRecipe goes through every kind of stage in moments.
func tinyRecipe(t testing.TB) string {
	t.Helper()
	moe, err := tinyMoE(t).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	dense, err := tinyDense(t).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	sft := func() *SFTOptions {
		return &SFTOptions{Tasks: "chain-sum-bare@1", Steps: 4, Batch: 256, Micro: 256, LR: 3e-3, SampleEvery: -1}
	}
	r := Recipe{Format: 1, Name: "tiny", About: "a test", Model: moe, Student: dense, Vocab: 264, Tasks: "chain-sum-bare@1", Problems: 8, Stages: []Stage{
		{Name: "base", Pretrain: sft()},
		{Name: "zero", GRPO: &GRPOOptions{Tasks: "chain-sum-bare@1", Steps: 2, Prompts: 4, Group: 4, MaxTokens: 12, EvalProblems: 4}},
		{Name: "samples", Reject: &RejectOptions{Tasks: "chain-sum-bare@1", Problems: 60, Samples: 8, MaxTokens: 12}},
		{Name: "taught", From: "base", Samples: "samples", SFT: sft()},
		{Name: "student", Samples: "samples", Distill: sft()},
	}}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tiny.json")
	if err := os.WriteFile(file, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

func tinyR1(t testing.TB, out, recipe string, resume bool) R1Config {
	c := R1Config{R1Options: R1Options{Out: out}, Resume: resume, Backend: cpuBackend(t, 2)}
	if !resume {
		c.Recipe = recipe
	}
	return c
}

// examsOf are the exams of all stages, which depend on every weight.
func examsOf(t testing.TB, s *R1Summary) string {
	t.Helper()
	var exams []*EvalReport
	for _, st := range s.Stages {
		exams = append(exams, st.Exam)
	}
	raw, err := json.Marshal(exams)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestR1 runs a recipe of all kinds of stages as a whole, and stopped and taken up again in
// each: the weights at the end are the same.
func TestR1(t *testing.T) {
	recipe, dir := tinyRecipe(t), t.TempDir()
	var out bytes.Buffer
	whole, err := R1(t.Context(), tinyR1(t, filepath.Join(dir, "whole"), recipe, false), &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"chain-sum-bare", "student", "distill", "report.md"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not mention %q:\n%s", want, out.String())
		}
	}
	report, err := os.ReadFile(filepath.Join(dir, "whole", "report.md"))
	if err != nil || !strings.Contains(string(report), "| zero") {
		t.Errorf("report.md: %v\n%s", err, report)
	}
	parts := filepath.Join(dir, "parts")
	var s *R1Summary
	for i, at := range []string{"stage 1/5", "stage 2/5", "stage 3/5", "stage 4/5", "stage 5/5", "never"} {
		ctx, stop := context.WithCancel(t.Context())
		w := &stopAt{at, stop}
		s, err = R1(ctx, tinyR1(t, parts, recipe, i > 0), w)
		stop()
		if at != "never" && !errors.Is(err, train.ErrInterrupted) {
			t.Fatalf("stopped at %q: %v", at, err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if a, b := examsOf(t, whole), examsOf(t, s); a != b {
		t.Errorf("the run in parts ends elsewhere:\n%s\n%s", a, b)
	}
	if _, err := R1(t.Context(), tinyR1(t, parts, recipe, false), &out); !errors.Is(err, train.ErrExists) {
		t.Errorf("beginning in a folder with a run: %v", err)
	}
}

// TestRecipes: those that are built in can be read, and are what they say.
func TestRecipes(t *testing.T) {
	for _, name := range RecipeNames() {
		r, err := RecipeByName(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := parseModel("model", r.Model)
		if err != nil {
			t.Fatal(err)
		}
		if r.Name != name || cfg.TotalParams() > 4e6 {
			t.Errorf("%s: name %s, %d parameters", name, r.Name, cfg.TotalParams())
		}
	}
	if _, err := RecipeByName("nope"); err == nil || !strings.Contains(err.Error(), "chain") {
		t.Errorf("an unknown recipe: %v", err)
	}
}

func TestRecipeErrors(t *testing.T) {
	raw, err := os.ReadFile(tinyRecipe(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(r map[string]any, stages []any)
		want   string
	}{
		{"another format", func(r map[string]any, _ []any) { r["format"] = 2 }, "format 2"},
		{"misspelt field", func(r map[string]any, _ []any) { r["taks"] = "all" }, "taks"},
		{"unknown task", func(r map[string]any, _ []any) { r["tasks"] = "nope" }, "nope"},
		{"no stages", func(r map[string]any, _ []any) { r["stages"] = []any{} }, "no stages"},
		{"no model", func(r map[string]any, _ []any) { delete(r, "model") }, "model is missing"},
		{"small vocabulary", func(r map[string]any, _ []any) { r["vocab"] = 100 }, "vocab is 100"},
		{"no student", func(r map[string]any, _ []any) { delete(r, "student") }, "student is missing"},
		{"two kinds", func(_ map[string]any, s []any) { s[0].(map[string]any)["sft"] = map[string]any{} }, "2 of pretrain"},
		{"no kind", func(_ map[string]any, s []any) { delete(s[0].(map[string]any), "pretrain") }, "0 of pretrain"},
		{"same name", func(_ map[string]any, s []any) { s[1].(map[string]any)["name"] = "base" }, "same name"},
		{"name of another folder", func(_ map[string]any, s []any) { s[1].(map[string]any)["name"] = "../x" }, "folder"},
		{"from a later stage", func(_ map[string]any, s []any) { s[1].(map[string]any)["from"] = "student" }, "no earlier stage"},
		{"from samples", func(_ map[string]any, s []any) { s[3].(map[string]any)["from"] = "samples" }, "no earlier stage"},
		{"samples of a model", func(_ map[string]any, s []any) { s[3].(map[string]any)["samples"] = "zero" }, "reject"},
		{"misspelt option", func(_ map[string]any, s []any) {
			s[1].(map[string]any)["grpo"].(map[string]any)["step"] = 3
		}, "step"},
	} {
		var r map[string]any
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		c.change(r, r["stages"].([]any))
		changed, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRecipe(changed); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v should name %q", c.name, err, c.want)
		}
	}
	if _, err := ReadRecipe(filepath.Join(t.TempDir(), "none.json")); err == nil {
		t.Error("a missing file is no error")
	}
}
