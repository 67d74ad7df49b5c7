package opcheck

import (
	"math"
	"slices"

	"sonde/compute"
)

func mlas() (ps []*problem) {
	for _, strided := range layouts {
		for i, h := range heads {
			for _, s := range [][2]int{{1, 1}, {3, 7}, {1, 64}, {2, 65}, {1, 200}} {
				if i == 3 && s[1] > 100 {
					continue // long enough already
				}
				ps = append(ps, mla(strided, h, s[0], s[1], 0))
				if s[1] == 65 || s[1] == 200 {
					ps = append(ps, mla(strided, h, s[0], s[1], s[1]/3))
				}
			}
		}
	}
	return ps
}

// mla sees all keys where top is 0, else the picked ones.
func mla(strided bool, h [5]int, batch, seq, top int) *problem {
	p := newProblem(strided, "%v B%d T%d top%d", h[:4], batch, seq, top).oneIn(4)
	n, nope, rope, v := h[0], h[1], h[2], h[3]
	rows := batch * seq
	p.in("q", rows, n*(nope+rope), 1.5)
	p.in("kv", rows, n*(nope+v), 1.5)
	p.in("kr", rows, rope, 1.5)
	p.in("do", rows, n*v, 1)
	p.in("o", rows, n*v, 1).result(3e-6)
	p.in("lse", rows, n, 1).result(2e-6)
	p.in("dq", rows, n*(nope+rope), 1).result(1e-5)
	p.in("dkv", rows, n*(nope+v), 1).result(1e-5)
	p.in("dkr", rows, rope, 1).result(1e-5)
	if seq == 1 { // one key: its probability is 1 and these gradients are rounding errors
		p.operands[6].tol, p.operands[8].tol = math.Inf(1), math.Inf(1)
	}
	if top > 0 {
		p.picks(rows, top, func(row int) int { return row%seq + 1 })
	}
	p.call = func(be compute.Backend, t tensors) {
		a := mlaArgs(h, batch, seq, t)
		be.MLAForward(a)
		be.MLABackward(a, compute.MLAGrads{DO: t["do"], DQ: t["dq"], DKV: t["dkv"], DKR: t["dkr"]})
	}
	return p
}

func mlaArgs(h [5]int, batch, seq int, t tensors) compute.MLAArgs {
	return compute.MLAArgs{Batch: batch, SeqLen: seq, Heads: h[0], Nope: h[1], Rope: h[2], V: h[3],
		Scale: float32(1 / math.Sqrt(float64(h[1]+h[2]))), Q: t["q"], KV: t["kv"], KR: t["kr"], O: t["o"], LSE: t["lse"], Picks: t["picks"]}
}

// picks adds an operand with top places a row below what the row sees: all of them where
// they are no more than top, else some at random, in every fifth row fewer.
func (p *problem) picks(rows, top int, sees func(row int) int) {
	o := p.ids("picks", rows, top, -1, 0)
	for row := range rows {
		n, want := sees(row), top
		if row%5 == 4 {
			want = (top + 1) / 2
		}
		places := p.rng.Perm(n)[:min(want, n)]
		slices.Sort(places)
		for j, place := range places {
			o.ints[row*top+j] = int32(place)
		}
	}
}

func latents() (ps []*problem) {
	for _, strided := range layouts {
		for _, h := range heads {
			for _, s := range [][2]int{{1, 0}, {1, 63}, {3, 64}, {7, 100}, {66, 5}, {1, 300}} { // rows, start
				ps = append(ps, latent(strided, h, s[0], s[1], 0))
				if s[1] >= 64 {
					ps = append(ps, latent(strided, h, s[0], s[1], 61), latent(strided, h, s[0], s[1], 101))
				}
			}
		}
	}
	return ps
}

// latent has rows after the last visible one: whoever reads them shows it.
func latent(strided bool, h [5]int, m, start, top int) *problem {
	p := newProblem(strided, "%v M%d at %d top%d", h, m, start, top).oneIn(4)
	n, d := h[0], h[4]+h[2]
	p.in("q", m, n*d, 1)
	cache := p.in("cache", start+m+3, d, 1)
	for i := (start + m) * d; i < len(cache.data); i++ {
		cache.data[i] = float32(math.NaN())
	}
	p.in("o", m, n*h[4], 1).result(5e-6)
	if top > 0 {
		p.picks(m, top, func(row int) int { return start + row + 1 })
	}
	p.call = func(be compute.Backend, t tensors) { be.LatentAttention(latentArgs(h, start, t)) }
	return p
}

func latentArgs(h [5]int, start int, t tensors) compute.LatentArgs {
	return compute.LatentArgs{Heads: h[0], Latent: h[4], Rope: h[2], Start: start, Scale: float32(1.5 / math.Sqrt(float64(h[4]+h[2]))),
		Q: t["q"], Cache: t["cache"], O: t["o"], Picks: t["picks"]}
}
