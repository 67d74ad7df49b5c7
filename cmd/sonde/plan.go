package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sonde/model"
	"sonde/model/auto"
	"sonde/plan"
)

// planCmd says what a model costs.
type planCmd struct {
	Model string `arg:"" help:"A preset (r1-sums, r1-nano, r1-dense, nano, mini, small, v3), a model's folder, or a config.json."`
	JSON  bool   `name:"json" help:"Print one JSON object."`
}

// Help is shown with the flags.
func (planCmd) Help() string {
	return `Parameters, active parameters, memory and floating-point operations per token, from the config alone.

Examples:
  sonde plan v3
  sonde plan runs/go --json`
}

// Run prints the report.
func (c planCmd) Run(s streams) error {
	cfg, err := c.config(s)
	if err != nil {
		return err
	}
	var runs []plan.Run
	if c.Model == "v3" {
		runs = append(runs, plan.V3Run())
	}
	r := plan.Of(cfg, runs...)
	if !c.JSON {
		return r.WriteText(s.out)
	}
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// config is the preset's or the file's.
func (c planCmd) config(s streams) (model.Config, error) {
	if slices.Contains(auto.PresetNames(), c.Model) {
		return auto.Preset(c.Model)
	}
	path := c.Model
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "config.json")
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is neither a preset (%s) nor a folder with a config.json, nor such a file", c.Model, strings.Join(auto.PresetNames(), ", "))
	}
	if err != nil {
		return nil, err
	}
	cfg, warnings, err := auto.ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, w := range warnings {
		fmt.Fprintf(s.err, "sonde: warning: %s\n", w)
	}
	return cfg, nil
}
