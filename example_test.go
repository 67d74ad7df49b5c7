package sonde_test

import (
	"context"
	"fmt"
	"os"

	"sonde"
	"sonde/internal/tiny"
)

func Example() {
	// A folder of random weights stands for that of a training run.
	folder, err := os.MkdirTemp("", "model")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(folder)
	if err := tiny.Write(folder); err != nil {
		fmt.Println(err)
		return
	}

	m, err := sonde.Open(folder, sonde.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	n := 0
	for piece, err := range m.Generate(context.Background(), "func Reverse(", sonde.GenerateOptions{Temperature: 0.8, Seed: 1, MaxTokens: 16}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		n += len(piece) // or print it as it comes
	}
	fmt.Println(n > 0)
	// Output: true
}
