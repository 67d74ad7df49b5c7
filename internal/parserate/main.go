// Command parserate samples Go functions from a trained model and says how many of
// them go/parser accepts: a measure of syntax that needs no judge.
//
//	parserate [-n 100] [-temp 0.8] [-top-p 0.95] [-max-tokens 300] [-show 3] RUN
//
// Each sample begins with a line that starts a function and ends at the first closing
// brace in the first column, or counts as broken where the tokens run out.
package main

import (
	"context"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"strings"

	"sonde"
)

const prompt = "}\n\nfunc "

func main() {
	n := flag.Int("n", 100, "functions to sample")
	show := flag.Int("show", 3, "samples to print")
	var p sonde.GenerateOptions
	flag.Float64Var(&p.Temperature, "temp", 0.8, "temperature")
	flag.Float64Var(&p.TopP, "top-p", 0.95, "nucleus sampling")
	flag.IntVar(&p.MaxTokens, "max-tokens", 300, "tokens of a function at most")
	flag.Parse()
	if err := run(flag.Arg(0), *n, *show, p); err != nil {
		fmt.Fprintln(os.Stderr, "parserate:", err)
		os.Exit(1)
	}
}

func run(folder string, n, show int, p sonde.GenerateOptions) error {
	m, err := sonde.Open(folder, sonde.Options{})
	if err != nil {
		return err
	}
	defer m.Close()
	p.Stop = []string{"\n}\n"}
	parsed := 0
	for i := range n {
		p.Seed = uint64(i + 1)
		body, err := sample(m, p)
		if err != nil {
			return err
		}
		whole := "package p\n\nfunc " + body + "\n}\n"
		_, bad := parser.ParseFile(token.NewFileSet(), "sample.go", whole, parser.SkipObjectResolution)
		if bad == nil {
			parsed++
		}
		if i < show {
			fmt.Printf("--- seed %d: %v\nfunc %s\n}\n", i+1, verdict(bad), body)
		}
	}
	fmt.Printf("%d of %d sampled functions parse (temperature %g, top-p %g)\n", parsed, n, p.Temperature, p.TopP)
	return nil
}

func sample(m *sonde.Model, p sonde.GenerateOptions) (string, error) {
	var b strings.Builder
	for piece, err := range m.Generate(context.Background(), prompt, p) {
		if err != nil {
			return "", err
		}
		b.WriteString(piece)
	}
	return b.String(), nil
}

func verdict(err error) string {
	if err == nil {
		return "parses"
	}
	return err.Error()
}
