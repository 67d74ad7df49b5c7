package task

import (
	"math"
	"strings"
	"testing"
)

// TestSplitsAreDisjoint draws many problems for both splits, from different seeds, and
// looks for one that is in both, by its canonical form and by its prompt.
func TestSplitsAreDisjoint(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 300
	}
	for _, task := range All() {
		t.Run(task.Info().Name, func(t *testing.T) {
			train, prompts := map[string]bool{}, map[string]bool{}
			a, b := NewRand(1), NewRand(2)
			for i := range n {
				p, err := Sample(task, Train, a, 1+i%task.Info().Hard)
				if err != nil {
					t.Fatal(err)
				}
				train[p.Canonical], prompts[p.Prompt] = true, true
			}
			for i := range n {
				p, err := Sample(task, HeldOut, b, 1+i%task.Info().Hard)
				if err != nil {
					t.Fatal(err)
				}
				if train[p.Canonical] || prompts[p.Prompt] {
					t.Fatalf("held out and in training: %s", p.Prompt)
				}
			}
		})
	}
}

func TestOneInEightIsHeldOut(t *testing.T) {
	rng := NewRand(5)
	n, held := 4000, 0
	for range n {
		if SplitOf(Multiplication().Generate(rng, 5)) == HeldOut {
			held++
		}
	}
	if share := float64(held) / float64(n); math.Abs(share-0.125) > 0.02 {
		t.Errorf("%.3f of the problems are held out", share)
	}
}

func TestSetsAreDifferentProblems(t *testing.T) {
	for _, task := range All() {
		n := 200
		for _, d := range []int{task.Info().Default, task.Info().Hard} {
			set, err := Set(task, HeldOut, 9, n, d)
			if err != nil {
				t.Error(err)
				continue
			}
			seen := map[string]bool{}
			for _, p := range set {
				if seen[p.Canonical] || SplitOf(p) != HeldOut {
					t.Errorf("%s: twice, or not held out: %s", task.Info().Name, p.Prompt)
				}
				seen[p.Canonical] = true
			}
			again, err := Set(task, HeldOut, 9, n, d)
			if err != nil || again[n-1].Prompt != set[n-1].Prompt {
				t.Errorf("%s: another set from the same seed", task.Info().Name)
			}
		}
	}
	if _, err := Set(Multiplication(), HeldOut, 1, 1000, 1); err == nil {
		t.Error("a thousand different products of one digit")
	}
}

// TestHardIsLonger compares the mean length of the thoughts.
func TestHardIsLonger(t *testing.T) {
	for _, task := range All() {
		rng := NewRand(1)
		mean := func(d int) int {
			sum := 0
			for range 200 {
				sum += len(task.Generate(rng, d).Thought)
			}
			return sum / 200
		}
		easy, usual, hard := mean(1), mean(task.Info().Default), mean(task.Info().Hard)
		if easy >= usual || hard*10 < usual*12 {
			t.Errorf("%s: thoughts of %d, %d, %d bytes", task.Info().Name, easy, usual, hard)
		}
		if testing.Verbose() {
			t.Logf("%-15s thoughts of %d, %d, %d bytes", task.Info().Name, easy, usual, hard)
		}
	}
}

func TestMix(t *testing.T) {
	m, err := ParseMix("chain-sum, countdown@3:2, letters@1-2")
	if err != nil {
		t.Fatal(err)
	}
	rng, seen := NewRand(1), map[string]int{}
	for range 400 {
		p, err := m.Draw(rng, HeldOut)
		if err != nil {
			t.Fatal(err)
		}
		seen[p.Task]++
		if p.Task == "countdown" && p.Difficulty != 3 || p.Task == "letters" && p.Difficulty > 2 {
			t.Errorf("%s of difficulty %d", p.Task, p.Difficulty)
		}
	}
	if c := seen["countdown"]; c < 150 || c > 250 {
		t.Errorf("half of the weight was drawn %d times of 400", c)
	}
	if all, err := ParseMix("all"); err != nil || len(all) != len(All()) {
		t.Errorf("all: %d parts, %v", len(all), err)
	}
	for text, want := range map[string]string{
		"sums": "chain-sum", "letters@0": "difficulty", "letters@3-2": "difficulty", "letters@99": "difficulty",
		"letters:0": "weight", "letters:NaN": "weight", "letters:x": "weight", "": "no task",
	} {
		if _, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something of %q", text, err, want)
		}
	}
	if _, err := (Mix{}).Draw(rng, Train); err == nil {
		t.Error("an empty mix draws")
	}
}

func TestDifficultyIsBounded(t *testing.T) {
	for _, task := range All() {
		for d, want := range map[int]int{-5: 1, 0: 1, MaxDifficulty: MaxDifficulty, 1 << 40: MaxDifficulty} {
			if p := task.Generate(NewRand(1), d); p.Difficulty != want || p.Verify(p.Answer).Score != 1 {
				t.Errorf("%s: difficulty %d gives %d", task.Info().Name, d, p.Difficulty)
			}
		}
	}
}
