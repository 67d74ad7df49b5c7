package cpu

import (
	"fmt"
	"strings"
	"testing"

	"sonde/compute"
)

// Far into a sequence a row is cut over workers by keys, and few heads have kernels of
// their own; many rows at once, other sequences beside, and training have not.
func TestAttentionIsTheSameInDecodeAndPrefill(t *testing.T) {
	const n = 1170
	for _, g := range [][3]int{{9, 3, 64}, {12, 2, 80}, {4, 4, 96}, {7, 1, 128}, {3, 1, 20}, {24, 2, 32}} { // heads, key heads, width
		be, one := vectorBackend(t, 3), vectorBackend(t, 1)
		ar := be.NewArena("test")
		a := gqa(be, ar, g, 1, n, 0)
		be.Attention(a)
		s := a.Seqs[0]
		for _, b := range []*Backend{be, one} {
			rows := []int{0, 15, 63, 64, 255, 256, 700, 1024, 1169}
			p := a
			p.Seqs, p.Q, p.O, p.LSE = nil, ar.F32(len(rows), g[0]*g[2]), ar.F32(len(rows), g[0]*g[2]), ar.F32(len(rows), g[0])
			for i, row := range rows {
				be.Copy(p.Q.Rows(i, i+1), a.Q.Rows(row, row+1))
				p.Seqs = append(p.Seqs, compute.AttentionSeq{Row: i, Rows: 1, Start: row, K: s.K.Rows(0, row+1), V: s.V.Rows(0, row+1)})
			}
			b.Attention(p)
			for i, row := range rows {
				what := fmt.Sprintf("%v row %d with %d threads", g, row, b.Threads())
				equalBits(t, what, p.O.Rows(i, i+1), a.O.Rows(row, row+1))
				equalBits(t, what+", log-sum-exp", p.LSE.Rows(i, i+1), a.LSE.Rows(row, row+1))
			}
		}
		ar.Free()
	}
}

// A token that has picked all it sees has the bits of one without picks.
func TestPicksOfAllKeysAreDenseAttention(t *testing.T) {
	const m, start, top = 5, 600, 640
	be := vectorBackend(t, 2)
	ar := be.NewArena("test")
	defer ar.Free()
	a := compute.LatentArgs{Heads: 6, Latent: 64, Rope: 16, Scale: 0.2, Q: random(be, ar.F32(m, 6*80), 1), O: ar.F32(m, 6*64),
		Seqs: []compute.LatentSeq{{Rows: m, Start: start, Cache: random(be, ar.F32(start+m, 80), 2)}}}
	be.LatentAttention(a)
	p := a
	p.O, p.Picks = ar.F32(m, 6*64), ar.I32(m, top)
	for i := range m {
		pickFirst(p.Picks.RowI32(i), start+i+1)
	}
	p.Picks.RowI32(2)[start+2] = -1 // the third token has not picked its own key: from it on keys are gathered
	be.LatentAttention(p)
	for _, i := range []int{0, 1, 3, 4} {
		equalBits(t, fmt.Sprintf("row %d", i), p.O.Rows(i, i+1), a.O.Rows(i, i+1))
	}
	if p.O.RowF32(2)[0] == a.O.RowF32(2)[0] {
		t.Error("a key that was not picked changed nothing by its absence")
	}
}

func TestPicksOutOfPlaceAreRefused(t *testing.T) {
	be := vectorBackend(t, 2)
	ar := be.NewArena("test")
	defer ar.Free()
	a := compute.LatentArgs{Heads: 1, Latent: 8, Rope: 8, Scale: 1, Q: random(be, ar.F32(1, 16), 1), O: ar.F32(1, 8), Picks: ar.I32(1, 3),
		Seqs: []compute.LatentSeq{{Rows: 1, Start: 3, Cache: random(be, ar.F32(4, 16), 2)}}}
	for _, picks := range [][]int32{{0, 1, 4}, {0, 2, 2}, {1, 0, -1}} {
		be.UploadI32(a.Picks, picks)
		func() {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "picks ascend") {
					t.Errorf("picks %v: %v", picks, v)
				}
			}()
			be.LatentAttention(a)
		}()
	}
}
