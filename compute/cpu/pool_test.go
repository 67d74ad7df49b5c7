package cpu

import (
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolRunsEveryChunkOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		p := newPool(threads)
		for round := range 300 {
			n := round % 17
			counts := make([]atomic.Int32, n)
			p.run(n, func(w *worker, c int) {
				if w.id < 0 || w.id >= threads {
					t.Errorf("worker %d of %d", w.id, threads)
				}
				counts[c].Add(1)
			})
			for c := range counts {
				if got := counts[c].Load(); got != 1 {
					t.Fatalf("%d threads, %d chunks: chunk %d ran %d times", threads, n, c, got)
				}
			}
			if round%100 == 99 {
				time.Sleep(time.Millisecond) // lets the workers park
			}
		}
		p.close()
		p.close()
		ran := 0
		p.run(3, func(*worker, int) { ran++ })
		if ran != 3 {
			t.Fatalf("a closed pool ran %d of 3 chunks", ran)
		}
	}
}

func TestPoolPassesPanicsOn(t *testing.T) {
	p := newPool(3)
	defer p.close()
	for bad := range 4 {
		func() {
			defer func() {
				if v := recover(); v != "chunk" {
					t.Fatalf("recovered %v, want the chunk's panic", v)
				}
			}()
			p.run(4, func(_ *worker, c int) {
				if c == bad {
					panic("chunk")
				}
			})
		}()
		var ran atomic.Int32
		p.run(8, func(*worker, int) { ran.Add(1) })
		if ran.Load() != 8 {
			t.Fatalf("after a panic %d of 8 chunks ran", ran.Load())
		}
	}
}

func TestPoolDoesNotAllocate(t *testing.T) {
	p := newPool(2)
	defer p.close()
	fn := func(*worker, int) {}
	if n := testing.AllocsPerRun(100, func() { p.run(4, fn) }); n != 0 {
		t.Fatalf("%v allocations per run", n)
	}
}

func BenchmarkPoolRun(b *testing.B) {
	p := newPool(2)
	defer p.close()
	fn := func(*worker, int) {}
	for b.Loop() {
		p.run(2, fn)
	}
}
