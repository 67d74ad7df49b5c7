package cpu

import (
	"runtime/debug"
	"sync"
	"sync/atomic"

	"sonde/compute"
)

// spins is how often a waiting goroutine looks for a change before it parks, a few
// tens of microseconds: longer than the Go code between two operations of a model,
// shorter than what a busy machine would notice.
const spins = 2000

// What a worker is doing. The caller of run sets called, a worker the others; a
// caller that finds no chunk left takes called back.
const (
	idle   = int32(iota) // looking for work
	parked               // asleep on its channel
	called               // work is there
	busy                 // at work
	ended                // the pool is closed
)

// pool is a set of workers that outlives operations. The goroutine that calls run is
// worker 0.
type pool struct {
	threads int
	mu      sync.Mutex // one run at a time
	workers []*worker

	fn      func(w *worker, chunk int)
	n       int64
	next    atomic.Int64 // first chunk that nobody has taken
	pending atomic.Int32 // workers called that have not finished
	waiting atomic.Bool  // the caller sleeps on done, or is about to
	done    chan struct{}

	failMu sync.Mutex
	fail   any // what the first panic carried
}

// worker is one thread of execution with its scratch memory.
type worker struct {
	id      int // 0 is the caller of run
	state   atomic.Int32
	wake    chan struct{}
	scratch *compute.Arena // emptied before every chunk
	chains  [chainCount]chain
	product product // in work; here so that it is not allocated anew
	gemv    gemv
	factors gemvFactors
	plain   operand  // what gemv holds of a matrix that is to be widened
	_       [64]byte // keeps two workers' states on different cache lines
}

// newPool starts threads-1 goroutines.
func newPool(threads int) *pool {
	p := &pool{threads: threads, done: make(chan struct{}, 1)}
	for i := range threads {
		w := &worker{
			id:      i,
			wake:    make(chan struct{}, 1),
			scratch: compute.NewArena("a worker's scratch", compute.HostMemory{}),
		}
		p.workers = append(p.workers, w)
		if i > 0 {
			go p.serve(w)
		}
	}
	return p
}

// run calls fn for every chunk from 0 to n-1, each once, on all workers; whoever is
// free takes the next. It returns when all are done, and panics with what the first
// panic of a chunk carried. fn must not call run. Nothing is allocated here; a
// closure passed as fn is allocated by who makes it.
func (p *pool) run(n int, fn func(w *worker, chunk int)) {
	if n <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fn, p.n = fn, int64(n)
	p.next.Store(0)
	helpers := p.workers[1:min(p.threads, n)]
	p.pending.Store(int32(len(helpers)))
	for _, w := range helpers {
		if w.state.Swap(called) == parked {
			w.wake <- struct{}{}
		}
	}
	p.work(p.workers[0])
	p.finish(helpers)
	p.fn = nil
	if v := p.fail; v != nil {
		p.fail = nil
		panic(v)
	}
}

// work takes chunks until none is left; a panic ends the run for everybody.
func (p *pool) work(w *worker) {
	defer func() {
		if v := recover(); v != nil {
			p.next.Store(p.n)
			p.failMu.Lock()
			if p.fail == nil {
				p.fail = v
			}
			p.failMu.Unlock()
		}
	}()
	for {
		c := p.next.Add(1) - 1
		if c >= p.n {
			return
		}
		w.scratch.Reset()
		p.fn(w, int(c))
	}
}

// finish waits for the helpers; one that has not begun yet is told not to. A wake-up
// that comes too early or is left over is harmless: pending decides.
func (p *pool) finish(helpers []*worker) {
	for _, w := range helpers {
		if w.state.CompareAndSwap(called, idle) {
			p.pending.Add(-1)
		}
	}
	for i := 0; p.pending.Load() != 0; i++ {
		if i < spins {
			pause()
			continue
		}
		p.waiting.Store(true)
		if p.pending.Load() != 0 {
			<-p.done
		}
		p.waiting.Store(false)
	}
}

// serve is a helper's life.
func (p *pool) serve(w *worker) {
	// Weights may lie in mapped files. The memory of one that is cut short faults: that
	// is a panic for the caller of run, who knows about files, not the process's end.
	debug.SetPanicOnFault(true)
	for {
		switch w.await() {
		case ended:
			return
		case called:
			if !w.state.CompareAndSwap(called, busy) {
				continue
			}
		}
		p.work(w)
		w.state.CompareAndSwap(busy, idle)
		if p.pending.Add(-1) == 0 && p.waiting.Load() {
			select {
			case p.done <- struct{}{}:
			default:
			}
		}
	}
}

// await returns when there is work or the end: it looks for a while, then sleeps.
func (w *worker) await() int32 {
	for i := 0; ; i++ {
		if s := w.state.Load(); s == called || s == ended {
			return s
		}
		if i < spins {
			pause()
			continue
		}
		if w.state.CompareAndSwap(idle, parked) {
			<-w.wake
		}
		i = 0
	}
}

// close ends the helpers and frees all scratch memory. A run after it works on the
// caller alone.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.workers[1:] {
		if w.state.Swap(ended) == parked {
			w.wake <- struct{}{}
		}
	}
	for _, w := range p.workers {
		w.scratch.Free()
	}
	p.workers, p.threads = p.workers[:1], 1
}
