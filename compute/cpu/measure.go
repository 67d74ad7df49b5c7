package cpu

import (
	"fmt"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"sonde/compute"
)

// Machine describes the processor that runs this program.
type Machine struct {
	Model    string   // as the processor names itself, GOARCH where it does not
	Cores    int      // processors that Go may use
	Features []string // vector extensions that matter here
	Sets     []string // kernel sets it can run, best first
	Chosen   string   // the set that New takes now
}

// String is one line for reports.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s; kernels %s", m.Model, m.Cores, strings.Join(m.Features, " "), m.Chosen)
}

// Info describes this machine. The error is New's for a bad SONDE_CPU.
func Info() (Machine, error) {
	m := Machine{Cores: runtime.GOMAXPROCS(0)}
	m.Model, m.Features = describeCPU()
	for _, k := range available() {
		m.Sets = append(m.Sets, k.name)
	}
	k, err := selectFromEnv()
	if err != nil {
		return m, err
	}
	m.Chosen = k.name
	return m, nil
}

// measureRounds is how often a measurement is repeated; the best counts, because
// other programs only ever make it worse.
const measureRounds = 5

// best is the highest rate of work per second, in units of 1e9, over some rounds of
// fn, each of which does work units of it on every worker and lasts some
// milliseconds.
func (p *pool) best(work float64, fn func(w *worker, chunk int)) float64 {
	rate := 0.0
	for range measureRounds {
		start := time.Now()
		p.run(p.threads, fn)
		rate = max(rate, work*float64(p.threads)/time.Since(start).Seconds())
	}
	return rate / 1e9
}

// MeasurePeak is what the workers reach together in a loop of nothing but float32
// multiply-adds on registers, in GFLOP/s. It takes about 50 ms.
func (b *Backend) MeasurePeak() float64 {
	const calls = 100
	rounds := 1 << 14 // about 50 us a call
	return b.pool.best(float64(calls*rounds*b.k.fmaFlops), func(*worker, int) {
		for range calls {
			b.k.fmaLoop(rounds)
		}
	})
}

// readBytes is what each worker reads when bandwidth is measured: larger than caches.
const readBytes = 256 << 20

// MeasureReadBandwidth is the rate at which the workers together read main memory, in
// GB/s, over pages of the kind that weights lie in. It takes about 200 ms.
func (b *Backend) MeasureReadBandwidth() float64 {
	ar := compute.NewArena("measuring bandwidth", compute.HostMemory{})
	defer ar.Free()
	t := ar.Alloc(compute.F32, b.pool.threads, readBytes/4)
	return b.measureRead(t)
}

// measureRead reads the rows of t, one a worker.
func (b *Backend) measureRead(t compute.Tensor) float64 {
	const piece = 256 << 10 // some 20 us
	bytes := t.NumCols() * 4 / piece * piece
	b.Zero(t)
	return b.pool.best(float64(bytes), func(_ *worker, row int) {
		p := t.Rows(row, row+1).Ptr()
		for off := 0; off < bytes; off += piece {
			b.k.readLoop(piece, (*float32)(unsafe.Add(p, off)))
		}
	})
}
