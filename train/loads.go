package train

// AddLoads adds the tokens per expert of a pass, [layer][expert], to sum, nil at first, and
// returns it. Loads may be empty: nothing went through the model.
func AddLoads[T int32 | int64](sum [][]int64, loads [][]T) [][]int64 {
	if len(sum) == 0 {
		sum = make([][]int64, len(loads))
	}
	for i, l := range loads {
		if sum[i] == nil {
			sum[i] = make([]int64, len(l))
		}
		for e, n := range l {
			sum[i][e] += int64(n)
		}
	}
	return sum
}

// WorstLoad is the busiest expert's load over the mean, in the layer where that is
// largest; 0 where no layer has experts.
func WorstLoad(loads [][]int64) float64 {
	worst := 0.0
	for _, l := range loads {
		total, top := int64(0), int64(0)
		for _, n := range l {
			total, top = total+n, max(top, n)
		}
		if total > 0 {
			worst = max(worst, float64(top)*float64(len(l))/float64(total))
		}
	}
	return worst
}
