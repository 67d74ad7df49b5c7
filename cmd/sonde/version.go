package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"sonde/compute/cpu"
)

// versionCmd names this build.
type versionCmd struct{}

// Help is shown with the flags.
func (versionCmd) Help() string {
	return `Examples:
  sonde version`
}

// Run prints version, commit, Go, system and kernels.
func (versionCmd) Run(s streams) error {
	version, commit := "(devel)", "unknown commit"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, kv := range info.Settings {
			switch {
			case kv.Key == "vcs.revision":
				commit = kv.Value
			case kv.Key == "vcs.modified" && kv.Value == "true":
				commit += " with changes"
			}
		}
	}
	m, err := cpu.Info()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "sonde %s, %s, %s %s/%s, kernels %s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, m.Chosen)
	return err
}
