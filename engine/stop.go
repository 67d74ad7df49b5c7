package engine

import "strings"

// stopper looks for stop strings in text that arrives in pieces, and holds back
// what may yet become one.
type stopper struct {
	stops   []string
	pending string
}

// push adds text and returns what can be let go. When a stop string is complete,
// hit is that string and out the text before it. Of several the one that ends first
// counts, so the outcome does not depend on how the text was cut into pieces.
func (s *stopper) push(text string) (out, hit string) {
	buf := s.pending + text
	end, start := len(buf)+1, 0
	for _, stop := range s.stops {
		i := strings.Index(buf, stop)
		if i < 0 {
			continue
		}
		if e := i + len(stop); e < end || e == end && i < start {
			end, start, hit = e, i, stop
		}
	}
	if hit != "" {
		s.pending = ""
		return buf[:start], hit
	}
	keep := s.held(buf)
	s.pending = buf[len(buf)-keep:]
	return buf[:len(buf)-keep], ""
}

// held is the length of the longest end of buf that begins a stop string.
func (s *stopper) held(buf string) int {
	longest := 0
	for _, stop := range s.stops {
		for n := min(len(stop)-1, len(buf)); n > longest; n-- {
			if strings.HasSuffix(buf, stop[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// flush lets go of what was held back: the text is over.
func (s *stopper) flush() string {
	out := s.pending
	s.pending = ""
	return out
}
