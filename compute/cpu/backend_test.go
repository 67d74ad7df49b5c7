package cpu

import (
	"os"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/internal/opcheck"
)

// newBackend is a Backend with the kernels of name ("" for the best) that ends with
// the test.
func newBackend(t testing.TB, name string, threads int) *Backend {
	t.Helper()
	t.Setenv("SONDE_CPU", name)
	b, err := New(Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// setNames lists the kernel sets to test here, and says which this machine lacks.
func setNames(t testing.TB) []string {
	var names []string
	for _, k := range available() {
		names = append(names, k.name)
	}
	t.Logf("kernel sets this processor runs: %s", strings.Join(names, ", "))
	return names
}

func TestBackendAgreesWithReference(t *testing.T) {
	for _, name := range setNames(t) {
		t.Run(name, func(t *testing.T) {
			opcheck.Run(t, newBackend(t, name, 2), compute.NewReference())
		})
	}
}

func TestThreadsDoNotChangeABit(t *testing.T) {
	for _, name := range setNames(t) {
		t.Run(name, func(t *testing.T) {
			opcheck.Bitwise(t, newBackend(t, name, 1), newBackend(t, name, 3))
		})
	}
}

func TestWidthsOfVectorsDoNotChangeABit(t *testing.T) {
	sets := setNames(t)
	sets = sets[:len(sets)-1] // not the generic one
	if len(sets) < 2 {
		t.Skipf("this processor runs one width of vectors (%s): there is nothing to compare it with", strings.Join(sets, ", "))
	}
	for _, name := range sets[1:] {
		t.Run(sets[0]+" and "+name, func(t *testing.T) {
			opcheck.Bitwise(t, newBackend(t, sets[0], 1), newBackend(t, name, 1))
		})
	}
}

func TestMeasuringLoopsEnd(t *testing.T) {
	memory := make([]float32, 256)
	for _, k := range available() {
		k.fmaLoop(3) // a fault or a loop without end is the failure
		k.readLoop(4*len(memory), &memory[0])
		if k.fmaFlops%(2*k.nr) != 0 {
			t.Errorf("%s counts %d operations a round, not whole registers of %d columns", k.name, k.fmaFlops, k.nr)
		}
	}
}

func TestRowsDoNotDependOnTheirNeighbours(t *testing.T) {
	for _, name := range setNames(t) {
		t.Run(name, func(t *testing.T) { opcheck.RowsAlone(t, newBackend(t, name, 2)) })
	}
}

func TestUnknownKernelSetIsRefused(t *testing.T) {
	for _, name := range []string{"sse9", "AVX2", "avx1024"} {
		t.Setenv("SONDE_CPU", name)
		b, err := New(Options{})
		if err == nil {
			b.Close()
			t.Fatalf("SONDE_CPU=%s was accepted", name)
		}
		if !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "generic") {
			t.Errorf("SONDE_CPU=%s: the error %q does not name the value and the way out", name, err)
		}
	}
	os.Unsetenv("SONDE_CPU")
	if b, err := New(Options{Threads: -1}); err == nil {
		b.Close()
		t.Error("-1 threads were accepted")
	}
}
