// Command reinforce teaches a model by reward alone, as DeepSeek-R1-Zero was taught (GRPO):
// it draws many answers to each problem, a verifier says which are right, and the model
// learns to write what was better than its group.
//
//	go run ./examples/train -out runs/sums
//	go run ./examples/reinforce -model runs/sums -out runs/sums-rl
//	go run ./examples/chat -model runs/sums-rl
//
// The task is one of its own: a sum of digits. Nothing tells the model to think, but
// who adds step by step is right more often, and so its answers become longer.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"

	"sonde/compute/cpu"
	"sonde/reason"
	"sonde/reason/task"
)

// sums is a task: how a problem is drawn, and what is right. The package sees to it that the
// problems on which the model is measured are never rewarded.
var sums = task.Family{
	About: task.Info{Name: "sums", Description: "a sum of digits", Default: 3, Hard: 6},
	Make: func(rng *rand.Rand, difficulty int) task.Problem {
		sum := rng.IntN(10)
		question := strconv.Itoa(sum)
		for range difficulty + rng.IntN(3) {
			digit := rng.IntN(10)
			question += fmt.Sprintf("+%d", digit)
			sum += digit
		}
		return task.Problem{
			Prompt: "What is " + question + "?",
			Answer: strconv.Itoa(sum), // the verifier asks for it, letter for letter
		}
	},
}

func main() {
	model := flag.String("model", "runs/sums", "folder of the model to begin with")
	out := flag.String("out", "runs/sums-rl", "folder of the run, and of the model that it makes")
	steps := flag.Int("steps", 60, "steps to learn")
	prompts := flag.Int("prompts", 32, "problems of a step")
	group := flag.Int("group", 16, "answers to each problem")
	held := flag.Int("held", 128, "held-out problems to measure on")
	resume := flag.Bool("resume", false, "go on with the run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // Ctrl-C saves
	defer stop()

	backend, err := cpu.New(cpu.Options{}) // every core
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()
	config := reason.GRPOConfig{
		GRPOOptions: reason.GRPOOptions{Model: *model, Out: *out, Steps: *steps, Prompts: *prompts, Group: *group,
			Objective: "dr-grpo", LR: 3e-4, MaxTokens: 80, EvalProblems: *held},
		Mix:     task.Mix{{Task: sums, Weight: 1, Low: sums.About.Default, High: sums.About.Default}},
		Resume:  *resume,
		Backend: backend,
	}
	summary, err := reason.GRPO(ctx, config, os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	if b, a := summary.Before, summary.After; b != nil && a != nil {
		fmt.Printf("right on held-out sums: %.0f %% before, %.0f %% after; thinking in %.0f %%, then %.0f %% of the answers\n",
			100*b.Sampled, 100*a.Sampled, 100*b.Thinking, 100*a.Thinking)
	}
	fmt.Printf("Now: go run ./examples/chat -model %s\n", *out)
}
