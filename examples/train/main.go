// Command train makes a model from nothing but text: a DeepSeek-V3-style mixture of experts
// with half a million parameters, in ten minutes on a laptop.
//
//	go run ./examples/train -out runs/sums
//	go run ./examples/train -out runs/notes -data ~/notes -steps 5000
//
// Without -data the text is sums of digits, most with the bare answer, one in four worked
// out before it. The model learns to do either: examples/reinforce then lets it find out
// which of them pays. What is left in the folder opens in any program that reads Hugging
// Face's layout; examples/chat talks to it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"

	"sonde/compute/cpu"
	"sonde/model/deepseek"
	"sonde/train"
)

func main() {
	out := flag.String("out", "runs/sums", "folder of the run")
	data := flag.String("data", "", "file, folder or glob of text (default: sums, made here)")
	steps := flag.Int("steps", 1800, "steps of 4,096 tokens to train")
	resume := flag.Bool("resume", false, "go on with the run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // Ctrl-C saves
	defer stop()

	folder, err := os.MkdirTemp("", "train")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if *data == "" {
		*data = filepath.Join(folder, "sums.jsonl")
		if err := writeSums(*data, 60000); err != nil {
			log.Fatal(err)
		}
	}
	// The architecture is a config.json, as in any model's folder.
	architecture, err := deepseek.Preset("r1-sums")
	if err != nil {
		log.Fatal(err)
	}
	config := filepath.Join(folder, "config.json")
	if raw, err := json.Marshal(architecture); err != nil || os.WriteFile(config, raw, 0o644) != nil {
		log.Fatal("the config cannot be written: ", err)
	}
	backend, err := cpu.New(cpu.Options{}) // every core
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	options := train.Options{Out: *out, Data: []string{*data}, ModelFile: config, Steps: *steps}
	if *resume {
		options = train.Options{Out: *out} // the run knows the rest, and keeps its text
	}
	summary, err := train.Run(ctx, train.Config{Options: options, Resume: *resume, Backend: backend}, os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %d steps. Now: go run ./examples/reinforce -model %s\n", *out, summary.Steps, *out)
}

// writeSums writes a text a line: a question, and its answer with or without a thought.
func writeSums(path string, n int) error {
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for range n {
		sum := rng.IntN(10)
		question, thought := strconv.Itoa(sum), ""
		for range 3 + rng.IntN(3) {
			digit := rng.IntN(10)
			question += fmt.Sprintf("+%d", digit)
			thought += fmt.Sprintf("%d+%d=%d\n", sum, digit, sum+digit)
			sum += digit
		}
		text := "What is " + question + "?\n"
		if rng.IntN(4) == 0 {
			text += "<think>\n" + thought + "</think>\n\n"
		}
		line, _ := json.Marshal(map[string]string{"text": text + strconv.Itoa(sum)})
		b.Write(append(line, '\n'))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
