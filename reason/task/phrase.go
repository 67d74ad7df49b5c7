package task

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// choose draws one of the values.
func choose[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// say draws a phrasing and fills it in; %[n]s picks the n-th argument.
func say(rng *rand.Rand, phrasings []string, a ...any) string {
	return fmt.Sprintf(choose(rng, phrasings), a...)
}

// between draws a number from low to high, both included.
func between(rng *rand.Rand, low, high int) int { return low + rng.IntN(high-low+1) }

// joinInts writes numbers with sep between them.
func joinInts(v []int, sep string) string {
	s := make([]string, len(v))
	for i, x := range v {
		s[i] = strconv.Itoa(x)
	}
	return strings.Join(s, sep)
}

// power is b to the e, for small ones.
func power(b, e int) int {
	p := 1
	for range e {
		p *= b
	}
	return p
}
