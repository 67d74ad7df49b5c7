package cpu

import (
	"testing"

	"sonde/compute"
	"sonde/num"
)

func TestFast(t *testing.T) {
	for _, k := range available() {
		be := &Backend{k: k}
		wide := k.name != "generic"
		for _, c := range []struct {
			dt   compute.DType
			act  compute.Activations
			want bool
		}{
			{compute.F32, compute.ActF32, wide}, {compute.BF16, compute.ActInt8, wide},
			{compute.BlockDType(num.Q4_K), compute.ActInt8, wide}, {compute.BlockDType(num.IQ1_S), compute.ActInt8, false}, {compute.I32, compute.ActF32, false},
		} {
			if got := be.Fast(c.dt, c.act); got != c.want {
				t.Errorf("%s: %v with activations %v: %v", k.name, c.dt, c.act, got)
			}
		}
	}
}
