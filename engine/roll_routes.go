package engine

import (
	"sonde/compute"
	"sonde/model"
)

// routeTap notes the experts that each row of a pass chose.
type routeTap struct {
	model.NoTap
	be     compute.Backend
	names  []string // of the layers, in order
	of     map[string]int
	chosen [][]int32 // of the pass under way: per layer, all rows in order
	topK   []int
}

// Route is shown a layer's choices, for the rows of one chunk after the other.
func (t *routeTap) Route(name string, r compute.RouteArgs) {
	i, ok := t.of[name]
	if !ok {
		if t.of == nil {
			t.of = map[string]int{}
		}
		i = len(t.names)
		t.of[name], t.names = i, append(t.names, name)
		t.chosen, t.topK = append(t.chosen, nil), append(t.topK, r.Experts.NumCols())
	}
	ids := make([]int32, r.Experts.Len())
	t.be.DownloadI32(ids, r.Experts)
	t.chosen[i] = append(t.chosen[i], ids...)
}

// share hands out what the pass showed: a row for each text under way, then the prompts.
func (t *routeTap) share(texts []*textUnderWay, rows []int, unread []*base) {
	if t == nil {
		return
	}
	for l, ids := range t.chosen {
		k, at := t.topK[l], 0
		take := func(n int) []int32 {
			at += n * k
			return ids[at-n*k : at]
		}
		for _, x := range texts {
			x.out.Routes[l] = append(x.out.Routes[l], take(1)...)
		}
		for i, b := range unread {
			b.routes = append(b.routes, append([]int32(nil), take(rows[i])...))
		}
		t.chosen[l] = ids[:0]
	}
}
