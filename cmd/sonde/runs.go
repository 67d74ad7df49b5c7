package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"sonde/serve"
)

// runsCmd shows runs.
type runsCmd struct {
	Folders []string `arg:"" optional:"" name:"folder" help:"Folders of runs, or with runs in them (default: runs)."`
	Addr    string   `help:"Address to listen on; port 0 takes any free one (default: ${default})." default:"127.0.0.1:8081" placeholder:"HOST:PORT"`
}

// Help is shown with the flags.
func (runsCmd) Help() string {
	return `Serves a page of runs, finished ones and those that go on, side by side: curves over steps, tokens or time, the stages of a recipe, and the rollouts of any step. It reads the folders and writes nothing; runs that begin later show by themselves. The environment's SONDE_API_KEY is asked for where it is set.

Examples:
  sonde runs
  sonde runs runs/r1
  sonde runs runs old/runs --addr 127.0.0.1:0`
}

// Run serves until the process is told to stop.
func (c runsCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	if len(c.Folders) == 0 {
		c.Folders = []string{"runs"}
	}
	for _, f := range c.Folders {
		if info, err := os.Stat(f); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is no folder here: name one that holds runs, or a run's own", f)
		}
	}
	ln, err := serve.Listen(c.Addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	log := slog.New(slog.NewTextHandler(s.err, nil))
	announce(s, ln, "the page of runs")
	return serve.Run(ctx, ln, serve.NewRuns(c.Folders, serve.RunsOptions{APIKey: os.Getenv("SONDE_API_KEY"), Log: log}), log)
}
