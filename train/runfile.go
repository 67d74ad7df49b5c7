package train

import (
	"errors"
	"fmt"
	"os"

	"sonde/model"
	"sonde/model/auto"
)

// runFile is run.json of a run of pre-training.
type runFile = RunFile[Options]

func readRun(run string) (*runFile, error) {
	r, err := ReadRun[Options](run, "train")
	if err == nil {
		r.Options.Out = run
	}
	return r, err
}

// modelConfig is the model that a run trains.
func modelConfig(r *runFile) (model.Config, error) {
	cfg, _, err := auto.ParseConfig(r.Model)
	if err != nil {
		return nil, fmt.Errorf("the model in run.json: %w", err)
	}
	return cfg, nil
}

// beginOrResume returns the run's description: a new one, checked and written, or the
// stored one when the user asks to go on.
func beginOrResume(c *Config, p *Progress) (*runFile, error) {
	stored, err := readRun(c.Out)
	switch {
	case err == nil && !c.Resume:
		return nil, alreadyThere(c.Out, stored)
	case err == nil:
		return stored, goOn(c, stored)
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	case c.Resume:
		return nil, errNoRun(c.Out)
	}
	if err := MustBeFree(c.Out); err != nil {
		return nil, err
	}
	return begin(c, p)
}

// precheck finds the mistakes that can be seen without touching the disk.
func precheck(c *Config) error {
	stored, err := readRun(c.Out)
	switch {
	case err == nil && !c.Resume:
		return alreadyThere(c.Out, stored)
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	case c.Resume:
		return errNoRun(c.Out)
	}
	if _, err := c.checked(nil); err != nil {
		return err
	}
	return namesExist(c.Data)
}

func errNoRun(run string) error {
	return fmt.Errorf("%s holds no run to go on with: check --out, or leave --resume out to begin one", run)
}

func alreadyThere(run string, stored *runFile) error {
	if _, err := os.Stat(SummaryPath(run)); err == nil {
		return fmt.Errorf("%w: %s is finished. Use it with\n  sonde run %s \"your text\"\nor begin another with another --out", ErrExists, run, ShellQuote(run))
	}
	at := ""
	if lines, err := ReadLog(run); err == nil && len(lines) > 0 && stored.TotalSteps > 0 {
		at = fmt.Sprintf(" It has seen about %d of %d steps.", len(lines), stored.TotalSteps)
	}
	return fmt.Errorf("%w: %s.%s Go on with\n  sonde train --out %s --resume\nor begin another with another --out", ErrExists, run, at, ShellQuote(run))
}

// goOn takes over the stored options; those that may differ are the user's.
func goOn(c *Config, stored *runFile) error {
	if err := checkStored(stored); err != nil {
		return fmt.Errorf("%s is damaged (%w): restore it, or begin another run with another --out", runPath(c.Out), err)
	}
	if err := Conflicts(&c.Options, &stored.Options); err != nil {
		return err
	}
	out, threads := c.Out, c.threadCount
	Fill(&c.Options, stored.Options)
	stored.Options = c.Options
	stored.Options.Out, stored.Options.threadCount = out, threads
	return c.Options.checkNumbers()
}

// checkStored finds what no run could have stored, and fills in options that are missing.
func checkStored(r *runFile) error {
	cfg, err := modelConfig(r)
	if err != nil {
		return err
	}
	if r.TotalSteps < 0 || r.TotalSteps > maxSteps/2 {
		return fmt.Errorf("total_steps is %d", r.TotalSteps)
	}
	return r.Options.resolve(cfg)
}

// MustBeFree refuses a folder with somebody's files in it; a new run needs one without.
func MustBeFree(run string) error {
	entries, err := os.ReadDir(run)
	if err != nil {
		return fmt.Errorf("the run's folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() != ".lock" {
			return fmt.Errorf("%s is not empty (%s) and holds no run: choose a new folder with --out", run, e.Name())
		}
	}
	return nil
}

// checked resolves the options of a new run and returns its model.
func (c *Config) checked(p *Progress) (model.Config, error) {
	if c.Preset == "" {
		c.Preset = "nano"
	}
	cfg, warnings, err := c.model()
	if p != nil {
		for _, w := range warnings {
			p.Note("warning    %s", w)
		}
	}
	if err != nil {
		return nil, err
	}
	return cfg, c.resolve(cfg)
}

// begin writes run.json.
func begin(c *Config, p *Progress) (*runFile, error) {
	cfg, err := c.checked(p)
	if err != nil {
		return nil, err
	}
	r := &runFile{Options: c.Options}
	return r, writeRun(r, cfg)
}

// writeRun stores the run's description with cfg as its model.
func writeRun(r *runFile, cfg model.Config) error {
	raw, err := cfg.MarshalJSON()
	if err != nil {
		return fmt.Errorf("the model's config: %w", err)
	}
	r.Model = raw
	return r.Write(r.Options.Out)
}
