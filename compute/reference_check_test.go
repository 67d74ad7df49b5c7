package compute_test

import (
	"testing"

	"sonde/compute"
	"sonde/internal/opcheck"
)

// Beside equal results, this shows that the operations keep within their views.
func TestReferenceLayouts(t *testing.T) { opcheck.Layouts(t, compute.NewReference()) }

func TestReferenceRowsAlone(t *testing.T) { opcheck.RowsAlone(t, compute.NewReference()) }
