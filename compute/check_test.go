package compute_test

import (
	"fmt"
	"strings"
	"testing"

	"sonde/compute"
)

func f(rows, cols int) compute.Tensor { return compute.Wrap(make([]float32, rows*cols), rows, cols) }
func n(rows, cols int) compute.Tensor { return compute.WrapI32(make([]int32, rows*cols), rows, cols) }
func h(rows, cols int) compute.Tensor {
	return compute.WrapBF16(make([]uint16, rows*cols), rows, cols)
}

// A mismatch is a bug of the caller's: it must end in a message with the operation
// and the shapes, not in wrong numbers.
func TestMismatchesPanicWithShapes(t *testing.T) {
	be := compute.NewReference()
	none := compute.Tensor{}
	route := routed(make(vec, 8), make(vec, 4), compute.RouteArgs{TopK: 2, Groups: 1, TopGroups: 1})
	twoGroups, manyExperts := route, route
	twoGroups.Groups, twoGroups.TopGroups = 3, 1
	manyExperts.TopK = 5
	given := route
	given.Given, given.Experts = true, compute.WrapI32([]int32{0, 1, 2, 2}, 2, 2)
	mla := compute.MLAArgs{Heads: 1, Nope: 2, Rope: 2, V: 2, Q: f(2, 4), O: f(2, 2), LSE: f(2, 1), Seqs: []compute.MLASeq{{Rows: 2, KV: f(2, 4), KR: f(2, 2)}}}
	short, later := mla, mla
	short.Seqs = []compute.MLASeq{{Rows: 2, KV: f(2, 4), KR: f(1, 2)}}
	later.Seqs = []compute.MLASeq{{Row: 1, Rows: 1, Start: 1, KV: f(2, 4), KR: f(2, 2)}}
	logp := compute.LogProbArgs{H: f(2, 3), W: f(5, 3), Targets: n(1, 2), LogP: f(1, 2)}
	outside := logp
	outside.Targets = compute.WrapI32([]int32{0, 5}, 1, 2)
	barred, unsorted := logp, logp
	barred.Allowed, unsorted.Allowed = idSets([][]int32{{0, 1}, {1, 2}}), idSets([][]int32{{0}, {0, 3, 3}})
	for _, c := range []struct {
		call string
		want []string
		do   func()
	}{
		{"MatMul", []string{"MatMul NT", "F32[2,3]", "F32[3,5]"}, func() { be.MatMul(compute.MatMulArgs{Form: compute.NT, C: f(2, 3), A: f(2, 4), B: f(3, 5)}) }},
		{"MatMul TN of BF16", []string{"MatMul TN", "BF16[2,4]"}, func() { be.MatMul(compute.MatMulArgs{Form: compute.TN, C: f(3, 4), A: f(2, 3), B: h(2, 4)}) }},
		{"GroupedMatMul", []string{"GroupedMatMul NN", "I32[1,2]"}, func() {
			be.GroupedMatMul(compute.GroupedMatMulArgs{Form: compute.NN, C: f(2, 3), A: f(2, 4), B: f(8, 3), Experts: 2, Offsets: n(1, 2)})
		}},
		{"GroupedMatMul rows", []string{"GroupedMatMul", "number of rows"}, func() {
			be.GroupedMatMul(compute.GroupedMatMulArgs{Form: compute.NN, C: f(2, 3), A: f(2, 4), B: f(8, 3), Experts: 2, Offsets: n(1, 3)})
		}},
		{"HeadMatMul", []string{"HeadMatMul NN", "F32[2,8]"}, func() {
			be.HeadMatMul(compute.HeadMatMulArgs{Form: compute.NN, C: f(2, 8), A: f(2, 4), B: f(4, 5), Heads: 2, CCols: 4, CWidth: 5, ACols: 2, AWidth: 2, BRows: 2, BCount: 2})
		}},
		{"Rope", []string{"Rope", "I32[1,3]"}, func() {
			be.Rope(compute.RopeArgs{X: f(2, 4), Pos: n(1, 3), Table: f(5, 4), Heads: 1, HeadStride: 4, Dim: 4})
		}},
		{"RMSNorm", []string{"RMSNorm", "F32[1,4]"}, func() { be.RMSNorm(f(2, 3), none, f(2, 3), f(1, 4), 1e-6) }},
		{"SwiGLU", []string{"SwiGLU", "F32[2,4]"}, func() { be.SwiGLU(f(2, 3), f(2, 3), f(2, 4), none) }},
		{"MLA", []string{"MLA", "F32[1,2]"}, func() { be.MLAForward(short) }},
		{"MLABackward", []string{"MLABackward", "F32[2,3]"}, func() {
			be.MLABackward(mla, compute.MLAGrads{DO: f(2, 2), DQ: f(2, 4), DKV: f(2, 4), DKR: f(2, 3)})
		}},
		{"MLABackward of rows from a cache", []string{"MLABackward", "sequence 0", "position 1"}, func() {
			be.MLABackward(later, compute.MLAGrads{DO: f(2, 2), DQ: f(2, 4), DKV: f(2, 4), DKR: f(2, 2)})
		}},
		{"LatentAttention", []string{"LatentAttention", "F32[4,6]"}, func() {
			be.LatentAttention(compute.LatentArgs{Heads: 1, Latent: 4, Rope: 2, Q: f(2, 6), O: f(2, 4), Seqs: []compute.LatentSeq{{Rows: 2, Start: 3, Cache: f(4, 6)}}})
		}},
		{"Route groups", []string{"Route", "F32[2,4]"}, func() { be.Route(twoGroups) }},
		{"Route experts", []string{"Route", "5 experts"}, func() { be.Route(manyExperts) }},
		{"Route given", []string{"Route", "token 1", "[2 2]"}, func() { be.Route(given) }},
		{"RouteBackward", []string{"RouteBackward", "Lens", "3 tokens"}, func() {
			be.RouteBackward(compute.RouteBackwardArgs{RouteArgs: route, DRowW: f(1, 4), DLogits: f(2, 4), Lens: []int{3}, AuxAlpha: 1})
		}},
		{"LogProb", []string{"LogProb", "target 5 of row 1", "5"}, func() { be.LogProb(outside) }},
		{"LogProb barred", []string{"LogProb", "target 0 of row 1"}, func() { be.LogProb(barred) }},
		{"LogProb unsorted", []string{"LogProb", "id 2 of row 1", "ascend"}, func() { be.LogProb(unsorted) }},
		{"LogProbBackward", []string{"LogProbBackward", "F32[4,3]"}, func() {
			be.LogProbBackward(compute.LogProbBackwardArgs{LogProbArgs: logp, Coef: f(1, 2), DH: f(2, 3), DW: f(4, 3)})
		}},
		{"AdamW", []string{"AdamW", "F32[3,2]"}, func() { be.AdamW(compute.AdamWArgs{P: f(2, 3), G: f(3, 2), M: f(2, 3), V: f(2, 3)}) }},
		{"Embed", []string{"Embed", "id 9"}, func() { be.Embed(f(1, 3), f(4, 3), compute.WrapI32([]int32{9}, 1, 1)) }},
		{"Copy", []string{"Copy", "I32[2,3]", "F32[2,3]"}, func() { be.Copy(f(2, 3), n(2, 3)) }},
		{"Upload", []string{"Upload", "5 bytes", "F32[1,2]"}, func() { be.Upload(f(1, 2), compute.F32, make([]byte, 5)) }},
		{"Add", []string{"Add", "F32[2,3]", "F32[3,2]"}, func() { be.Add(f(2, 3), f(3, 2)) }},
	} {
		t.Run(c.call, func(t *testing.T) {
			defer func() {
				said := fmt.Sprint(recover())
				for _, w := range c.want {
					if !strings.Contains(said, w) {
						t.Errorf("the panic lacks %q: %s", w, said)
					}
				}
			}()
			c.do()
		})
	}
}

// Checks run before every operation, so they must cost nothing.
func TestChecksDoNotAllocate(t *testing.T) {
	product := compute.MatMulArgs{Form: compute.NT, C: f(2, 3), A: f(2, 4), B: f(3, 4)}
	grouped := compute.GroupedMatMulArgs{Form: compute.NN, C: f(2, 3), A: f(2, 4), B: f(8, 3), Experts: 2, Offsets: n(1, 3)}
	mla := compute.MLAArgs{Heads: 1, Nope: 2, Rope: 2, V: 2, Q: f(2, 4), O: f(2, 2), LSE: f(2, 1), Seqs: []compute.MLASeq{{Rows: 2, KV: f(2, 4), KR: f(2, 2)}}}
	logp := compute.LogProbArgs{H: f(2, 3), W: f(5, 3), Targets: n(1, 2), LogP: f(1, 2)}
	if got := testing.AllocsPerRun(10, func() { product.Dims(); grouped.Dims(); mla.Check(); logp.Check() }); got != 0 {
		t.Errorf("checks allocate %v times", got)
	}
}
