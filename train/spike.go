package train

import (
	"fmt"
	"math"
)

// A spike is a loss far above those just before: for spikeSteps steps in a row more
// than spikeNats and more than spikeSigmas standard deviations above the mean of the
// spikeWindow steps before the first of them. One bad batch is no spike; a run whose
// loss stays up has lost what it learned.
const (
	spikeWindow = 64
	spikeSteps  = 3
	spikeNats   = 1.0
	spikeSigmas = 6.0
)

// spikeWatch looks for spikes.
type spikeWatch struct {
	calm []float64 // the last losses that were no spike
	high int       // steps in a row above the limit
}

// limit is the loss above which a step counts.
func (s *spikeWatch) limit() float64 {
	if len(s.calm) < spikeWindow {
		return math.Inf(1)
	}
	sum, squares := 0.0, 0.0
	for _, l := range s.calm {
		sum += l
	}
	mean := sum / spikeWindow
	for _, l := range s.calm {
		squares += (l - mean) * (l - mean)
	}
	return mean + max(spikeNats, spikeSigmas*math.Sqrt(squares/spikeWindow))
}

// add takes a step's loss and reports whether the run has spiked.
func (s *spikeWatch) add(loss float64) bool {
	if loss > s.limit() {
		s.high++
		return s.high >= spikeSteps
	}
	s.high = 0
	if len(s.calm) == spikeWindow {
		s.calm = append(s.calm[:0], s.calm[1:]...)
	}
	s.calm = append(s.calm, loss)
	return false
}

func (s *spikeWatch) describe() string {
	return fmt.Sprintf("%d steps in a row above %.3f, the limit set by the %d steps before", s.high, s.limit(), spikeWindow)
}
