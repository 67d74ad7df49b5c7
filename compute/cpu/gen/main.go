// Command gen writes the assembly of package cpu and its Go declarations:
//
//	go generate ./compute/cpu
//
// Every kernel is written once over a vector width (width in vec.go) and emitted for
// each width that some machine at hand has run. A file gemm.go here registers a unit
// "gemm", which becomes ../gemm_avx2_amd64.s and ../gemm_avx2_amd64.go.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

// unit is a group of kernels that share a pair of files.
type unit struct {
	name string
	emit func(g *gen)
}

// units is filled by the init functions of this package's other files.
var units []unit

// widths lists the vector widths to emit.
var widths = []width{avx2, avx512}

func main() {
	log.SetFlags(0)
	for _, w := range widths {
		for _, u := range units {
			if err := write(u, w); err != nil {
				log.Fatalf("gen: %s for %s: %v", u.name, w.name, err)
			}
		}
	}
}

// beyond16 is an instruction with a vector register that only AVX-512 has.
var beyond16 = regexp.MustCompile(`.*\b[XY](1[6-9]|[23][0-9])\b.*`)

// write emits one unit for one width.
func write(u unit, w width) error {
	g := &gen{Context: build.NewContext(), w: w}
	u.emit(g)
	f, err := g.Result()
	if err != nil {
		return err
	}
	if len(f.Functions()) == 0 {
		return nil // none of it is for this width
	}
	if err := pass.Compile.Execute(f); err != nil {
		return err
	}
	base := filepath.Join("..", fmt.Sprintf("%s_%s_amd64", u.name, w.name))
	cfg := printer.Config{Name: "gen", Pkg: "cpu"}
	for ext, p := range map[string]printer.Printer{".s": printer.NewGoAsm(cfg), ".go": printer.NewStubs(cfg)} {
		text, err := p.Print(f)
		if err != nil {
			return err
		}
		if w.bytes < 64 && beyond16.Match(text) {
			return fmt.Errorf("more than the 16 vector registers there are: %s", beyond16.Find(text))
		}
		if err := os.WriteFile(base+ext, bytes.TrimLeft(text, "\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
