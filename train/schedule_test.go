package train

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func drawOptions(t *rapid.T) *Options {
	micro := rapid.IntRange(1, 4).Draw(t, "micro")
	start := rapid.IntRange(1, 5).Draw(t, "start")
	return &Options{SeqLen: 8, Micro: 8 * micro, BatchStart: 8 * micro * start, Batch: 8 * micro * (start + rapid.IntRange(0, 6).Draw(t, "more")),
		Ramp: ptr(rapid.Float64Range(0, 1).Draw(t, "ramp")), LR: 0.1, LREnd: ptr(0.1), Warmup: ptr(rapid.IntRange(0, 30).Draw(t, "warmup")),
		Constant: ptr(rapid.Float64Range(0, 1).Draw(t, "constant")), MTPLambda: ptr(0.3), Gamma: ptr(0.01)}
}

func TestSequencesAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		s := newSchedule(o, rapid.IntRange(1, 300).Draw(t, "steps"))
		sum := int64(0)
		for i := range s.Steps {
			if got := s.sequences(i); got != sum {
				t.Fatalf("sequences(%d) = %d, the steps add up to %d", i, got, sum)
			}
			if n := s.micro(i); n < s.first || n > s.max {
				t.Fatalf("step %d has %d passes, outside %d to %d", i, n, s.first, s.max)
			}
			sum += int64(s.micro(i) * s.microSeqs)
		}
	})
}

func TestStepsAreTheFewestThatReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawOptions(t)
		want := rapid.Int64Range(1, 20000).Draw(t, "tokens")
		n, err := stepsForTokens(o, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := newSchedule(o, n).tokens(n); got < want {
			t.Fatalf("%d steps read %d tokens, fewer than %d", n, got, want)
		}
		if got := newSchedule(o, n-1).tokens(n - 1); n > 1 && got >= want {
			t.Fatalf("%d steps would do for %d tokens, got %d", n-1, want, n)
		}
	})
	if _, err := stepsForTokens(&Options{SeqLen: 8, Micro: 8, Batch: 8, BatchStart: 8, LREnd: ptr(0.0), Warmup: ptr(0), Constant: ptr(0.0), Ramp: ptr(0.0), MTPLambda: ptr(0.0), Gamma: ptr(0.0)}, math.MaxInt64); err == nil {
		t.Error("an absurd number of tokens was planned")
	}
}

func TestStepsForTime(t *testing.T) {
	o := &Options{SeqLen: 8, Micro: 8, Batch: 32, BatchStart: 32, LREnd: ptr(0.0), Warmup: ptr(0), Constant: ptr(0.0), Ramp: ptr(0.0), MTPLambda: ptr(0.0), Gamma: ptr(0.0)}
	if n := stepsForTime(o, 100, 0.2, 0.2); n != 100 {
		t.Errorf("100 s at 4 * 0.2 + 0.2 s a step gave %d steps", n)
	}
	if n := stepsForTime(o, 0.001, 1, 1); n != 1 {
		t.Errorf("no time gave %d steps, expected 1", n)
	}
}

func TestRateRisesStaysAndFalls(t *testing.T) {
	o := &Options{SeqLen: 8, Micro: 8, Batch: 8, BatchStart: 8, LR: 1, LREnd: ptr(0.1), Warmup: ptr(10), Constant: ptr(0.5), Ramp: ptr(0.0), MTPLambda: ptr(0.3), Gamma: ptr(0.01)}
	s := newSchedule(o, 100)
	for step, want := range map[int]float64{0: 0.1, 9: 1, 49: 1, 50: 1, 99: 0.1} {
		if got := s.At(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("rate(%d) = %v, expected %v", step, got, want)
		}
	}
	for i := 51; i < 100; i++ {
		if s.At(i) >= s.At(i-1) {
			t.Errorf("the rate does not fall at step %d", i)
		}
	}
	if s.mtpLambda(49) != 0.3 || math.Abs(s.mtpLambda(50)-0.1) > 1e-12 {
		t.Errorf("lambda is %v before the fall and %v after", s.mtpLambda(49), s.mtpLambda(50))
	}
	if s.gamma(0) != 0.01 || s.gamma(49) != 0.01 || math.Abs(s.gamma(99)-0.001) > 1e-12 {
		t.Errorf("gamma is %v, %v and %v: expected 0.01 until the rate falls, and then with it", s.gamma(0), s.gamma(49), s.gamma(99))
	}
	rapid.Check(t, func(t *rapid.T) {
		s := newSchedule(drawOptions(t), rapid.IntRange(1, 200).Draw(t, "steps"))
		for i := range s.Steps {
			if r := s.At(i); !(r > 0 && r <= s.LR) {
				t.Fatalf("rate(%d) = %v of %d steps", i, r, s.Steps)
			}
		}
	})
}
