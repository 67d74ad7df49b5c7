package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sonde/model/deepseek"
)

// runFile is run.json: what a run was begun with, and what was fixed since.
type runFile struct {
	Format     int             `json:"format"`
	Options    Options         `json:"options"`
	Model      json.RawMessage `json:"model"`       // config.json of the model
	TotalSteps int             `json:"total_steps"` // 0 until fixed
}

const runFormat = 1

func runPath(run string) string { return filepath.Join(run, "run.json") }

func readRun(run string) (*runFile, error) {
	raw, err := os.ReadFile(runPath(run))
	if err != nil {
		if info, e := os.Stat(run); e == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is a file: name a folder with --out", run)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the run's folder: %w: name one that can be read with --out", err)
		}
		return nil, err
	}
	var version struct{ Format int }
	if err := json.Unmarshal(raw, &version); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): restore it, or begin another run with another --out", runPath(run), err)
	}
	if version.Format != runFormat {
		return nil, fmt.Errorf("%s has format %d, this program knows %d: use the program that began the run", runPath(run), version.Format, runFormat)
	}
	r := &runFile{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): restore it, or begin another run with another --out", runPath(run), err)
	}
	r.Options.Out = run
	return r, nil
}

func (r *runFile) config() (*deepseek.Config, error) {
	cfg, _, err := deepseek.ParseConfig(r.Model)
	if err != nil {
		return nil, fmt.Errorf("the model in run.json: %w", err)
	}
	return cfg, nil
}

// beginOrResume returns the run's description: a new one, checked and written, or the
// stored one when the user asks to go on.
func beginOrResume(c *Config, p *progress) (*runFile, error) {
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
	if err := mustBeFree(c.Out); err != nil {
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

// ErrExists is what beginning a run in a folder that holds one wraps.
var ErrExists = errors.New("the folder already holds a run")

func alreadyThere(run string, stored *runFile) error {
	if _, err := os.Stat(summaryPath(run)); err == nil {
		return fmt.Errorf("%w: %s is finished. Use it with\n  sonde run %s \"your text\"\nor begin another with another --out", ErrExists, run, shellQuote(run))
	}
	at := ""
	if lines, err := ReadLog(run); err == nil && len(lines) > 0 && stored.TotalSteps > 0 {
		at = fmt.Sprintf(" It has seen about %d of %d steps.", len(lines), stored.TotalSteps)
	}
	return fmt.Errorf("%w: %s.%s Go on with\n  sonde train --out %s --resume\nor begin another with another --out", ErrExists, run, at, shellQuote(run))
}

// goOn takes over the stored options; those that may differ are the user's.
func goOn(c *Config, stored *runFile) error {
	if err := stored.check(); err != nil {
		return fmt.Errorf("%s is damaged (%w): restore it, or begin another run with another --out", runPath(c.Out), err)
	}
	if err := c.Options.conflicts(&stored.Options); err != nil {
		return err
	}
	out, threads := c.Out, c.threadCount
	c.Options.adopt(&stored.Options)
	stored.Options = c.Options
	stored.Options.Out, stored.Options.threadCount = out, threads
	return c.Options.checkNumbers()
}

// check finds what no run could have stored, and fills in options that are missing.
func (r *runFile) check() error {
	cfg, err := r.config()
	if err != nil {
		return err
	}
	if r.TotalSteps < 0 || r.TotalSteps > maxSteps/2 {
		return fmt.Errorf("total_steps is %d", r.TotalSteps)
	}
	return r.Options.resolve(cfg)
}

// mustBeFree refuses a folder with somebody's files in it.
func mustBeFree(run string) error {
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
func (c *Config) checked(p *progress) (*deepseek.Config, error) {
	if c.Preset == "" {
		c.Preset = "nano"
	}
	cfg, warnings, err := c.model()
	if p != nil {
		for _, w := range warnings {
			p.note("warning    %s", w)
		}
	}
	if err != nil {
		return nil, err
	}
	return cfg, c.resolve(cfg)
}

// begin writes run.json.
func begin(c *Config, p *progress) (*runFile, error) {
	cfg, err := c.checked(p)
	if err != nil {
		return nil, err
	}
	r := &runFile{Format: runFormat, Options: c.Options}
	return r, r.write(cfg)
}

// write stores the run's description with cfg as its model.
func (r *runFile) write(cfg *deepseek.Config) error {
	raw, err := cfg.MarshalJSON()
	if err != nil {
		return fmt.Errorf("the model's config: %w", err)
	}
	r.Model = raw
	return writeJSON(runPath(r.Options.Out), r)
}
