package serve

import (
	"net/http"
	"strconv"
)

// Bounds on the counts of tokens per expert.
const (
	maxLoadGroups  = 96
	maxLoadLayers  = 256
	maxLoadExperts = 1024
	maxLoadCounts  = 1 << 16 // of a step, over all layers
)

// loadMap keeps how many tokens each expert of each layer got, summed over groups of
// every steps, at most maxLoadGroups of them.
type loadMap struct {
	layers, experts int
	every           int
	sums            [][]float32 // per group, layer-major; nil where nothing was logged
	last            []int       // step that a group ends with
}

// add counts one step. Counts of another shape than before begin anew: the run has
// another model.
func (m *loadMap) add(step int, loads [][]float32) {
	if !wellFormed(loads) {
		return
	}
	if m.layers != len(loads) || m.experts != len(loads[0]) {
		*m = loadMap{layers: len(loads), experts: len(loads[0]), every: 1}
	}
	for (step-1)/m.every >= maxLoadGroups {
		m.halve()
	}
	at := (step - 1) / m.every
	for len(m.sums) <= at {
		m.sums, m.last = append(m.sums, nil), append(m.last, 0)
	}
	if m.sums[at] == nil {
		m.sums[at] = make([]float32, m.layers*m.experts)
	}
	for i, layer := range loads {
		for j, v := range layer {
			m.sums[at][i*m.experts+j] += v
		}
	}
	m.last[at] = step
}

// wellFormed wants the same number of experts, no count below 0, in every layer.
func wellFormed(loads [][]float32) bool {
	if len(loads) == 0 || len(loads) > maxLoadLayers || len(loads[0]) == 0 || len(loads[0]) > maxLoadExperts || len(loads)*len(loads[0]) > maxLoadCounts {
		return false
	}
	for _, layer := range loads {
		if len(layer) != len(loads[0]) {
			return false
		}
		for _, v := range layer {
			if v < 0 {
				return false
			}
		}
	}
	return true
}

func (m *loadMap) halve() {
	m.every *= 2
	n := (len(m.sums) + 1) / 2
	for i := range n {
		m.sums[i], m.last[i] = m.sums[2*i], m.last[2*i]
		if 2*i+1 >= len(m.sums) || m.sums[2*i+1] == nil {
			continue
		}
		if m.sums[i] == nil {
			m.sums[i] = m.sums[2*i+1]
		} else {
			for j, v := range m.sums[2*i+1] {
				m.sums[i][j] += v
			}
		}
		m.last[i] = m.last[2*i+1]
	}
	clear(m.sums[n:])
	m.sums, m.last = m.sums[:n], m.last[:n]
}

// rewind forgets the groups from step on.
func (m *loadMap) rewind(step int) {
	if m.every == 0 {
		return
	}
	at := min((step-1)/m.every, len(m.sums))
	clear(m.sums[at:])
	m.sums, m.last = m.sums[:at], m.last[:at]
}

// loads answers GET /api/runs/{id}/loads?layer=L, from 0:
//
//	{"layers":3, "experts":16, "layer":0, "step":[...], "share":[[...], ...]}
//
// with, for each group of steps, each expert's tokens over the mean of all experts: 1
// is perfect balance. layers is 0 where the log has no counts.
func (s *runsServer) loads(w http.ResponseWriter, r *http.Request) {
	layer, err := intParam(r, "layer", 0, 0, maxLoadLayers-1)
	if err != nil {
		writeError(w, err)
		return
	}
	l, _, err := s.fresh(r.PathValue("id"))
	if err != nil {
		writeError(w, err)
		return
	}
	defer l.mu.Unlock()
	if m := &l.loads; m.layers > 0 && layer >= m.layers {
		writeError(w, invalid("layer", "layer %d is not among the %d with experts", layer, m.layers))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(l.loads.appendJSON(nil, layer))
}

func (m *loadMap) appendJSON(b []byte, layer int) []byte {
	field := func(name string, v int) {
		b = append(append(b, name...), ':')
		b = strconv.AppendInt(b, int64(v), 10)
	}
	field(`{"layers"`, m.layers)
	field(`,"experts"`, m.experts)
	field(`,"layer"`, layer)
	b = append(b, `,"step":[`...)
	comma := ""
	for i, step := range m.last {
		if m.sums[i] != nil {
			b = strconv.AppendInt(append(b, comma...), int64(step), 10)
			comma = ","
		}
	}
	b = append(b, `],"share":[`...)
	comma = ""
	for _, sums := range m.sums {
		if sums != nil {
			b = appendShares(append(b, comma...), sums[layer*m.experts:(layer+1)*m.experts])
			comma = ","
		}
	}
	return append(b, "]}\n"...)
}

// appendShares writes counts over their mean.
func appendShares(b []byte, counts []float32) []byte {
	total := 0.0
	for _, v := range counts {
		total += float64(v)
	}
	b = append(b, '[')
	for i, v := range counts {
		if i > 0 {
			b = append(b, ',')
		}
		share := 0.0
		if total > 0 {
			share = float64(v) / total * float64(len(counts))
		}
		b = appendNumber(b, share, 4)
	}
	return append(b, ']')
}
