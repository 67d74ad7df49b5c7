package model

import (
	"math"

	"sonde/compute"
)

// ropeRows is the least positions that a RopeTable holds.
const ropeRows = 512

// RopeTable holds the cosines and sines of positions as compute.RopeArgs wants them. It
// is filled when positions are first needed: a context of 131,072 tokens would take
// 64 MiB at once.
type RopeTable struct {
	be   compute.Backend
	ar   *compute.Arena
	t    compute.Tensor // [positions so far, 2*len(freq)]
	freq []float32
	mag  float32
	max  int
}

// NewRopeTable makes an empty table for up to positions. freq are the angles per
// position of each pair, magnitude a factor on cosines and sines.
func NewRopeTable(be compute.Backend, freq []float32, magnitude float32, positions int) *RopeTable {
	return &RopeTable{be: be, freq: freq, mag: magnitude, max: positions}
}

// Upto is the table with n positions at least; it is valid until the next call.
func (r *RopeTable) Upto(n int) compute.Tensor {
	have := r.t.NumRows()
	if n <= have && !r.t.IsZero() {
		return r.t
	}
	rows := min(max(n, 2*have, ropeRows), max(r.max, n))
	ar := r.be.NewArena("rotary positions")
	half := len(r.freq)
	t := ar.F32(rows, 2*half)
	if have > 0 {
		r.be.Copy(t.Rows(0, have), r.t)
	}
	row := make([]float32, 2*half)
	for p := have; p < rows; p++ {
		for i, f := range r.freq {
			// The product is rounded to float32 before the cosine, as the original
			// does: at far positions the rounding is visible.
			s, c := math.Sincos(float64(float32(p) * f))
			row[i], row[half+i] = float32(c)*r.mag, float32(s)*r.mag
		}
		r.be.UploadF32(t.Rows(p, p+1), row)
	}
	r.Close()
	r.ar, r.t = ar, t
	return t
}

// Close frees the memory; the next Upto fills it anew.
func (r *RopeTable) Close() {
	if r.ar != nil {
		r.ar.Free()
	}
	r.ar, r.t = nil, compute.Tensor{}
}
