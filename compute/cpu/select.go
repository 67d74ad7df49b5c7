package cpu

import (
	"fmt"
	"os"
	"strings"
)

// kernels is one set of functions for one vector width. The generic set is complete;
// a wider one replaces what it is faster at.
type kernels struct {
	name string // as in SONDE_CPU
	gemmKernels
	opKernels
	int8Kernels
}

// available lists the sets this processor can run, best first; generic is last. The
// file of the architecture adds to it.
func available() []*kernels {
	return append(archKernels(), genericKernels())
}

// genericKernels is plain Go.
func genericKernels() *kernels {
	return &kernels{name: "generic", gemmKernels: genericGemm(), opKernels: genericOps()}
}

// selectFromEnv finds the set that SONDE_CPU asks for.
func selectFromEnv() (*kernels, error) { return selectKernels(os.Getenv("SONDE_CPU")) }

// selectKernels finds the set called name, the best one when name is empty.
func selectKernels(name string) (*kernels, error) {
	sets := available()
	if name == "" {
		return sets[0], nil
	}
	var names []string
	for _, k := range sets {
		if k.name == name {
			return k, nil
		}
		names = append(names, k.name)
	}
	return nil, fmt.Errorf("SONDE_CPU=%s: this processor and program have %s; set one of them or unset the variable",
		name, strings.Join(names, ", "))
}
