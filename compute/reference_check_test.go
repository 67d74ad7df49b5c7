package compute_test

import (
	"testing"

	"sonde/compute"
	"sonde/internal/opcheck"
)

// Against itself the reference shows that the operations keep within their views and
// that nothing is left over from one call to the next.
func TestReferenceKeepsWithinItsViews(t *testing.T) {
	opcheck.Bitwise(t, compute.NewReference(), compute.NewReference())
}

func TestReferenceRowsAlone(t *testing.T) { opcheck.RowsAlone(t, compute.NewReference()) }
