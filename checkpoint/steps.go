package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func stepName(step int) string { return fmt.Sprintf("%s%08d", stepPrefix, step) }

// listSteps lists the steps saved in a folder of states, ascending. A folder that
// does not exist has none.
func listSteps(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stepPrefix)
		step, err := strconv.Atoi(digits)
		if ok && err == nil && e.IsDir() && stepName(step) == e.Name() {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// newestState is the path of the newest committed state, "" when there is none.
func newestState(runDir string) string {
	dir := filepath.Join(runDir, stateDir)
	steps, err := listSteps(dir)
	if err != nil || len(steps) == 0 {
		return ""
	}
	return filepath.Join(dir, stepName(steps[len(steps)-1]))
}

// Prune removes all but the newest keep states of a run. The caller holds the run's
// lock.
func Prune(runDir string, keep int) error {
	if keep < 1 {
		return fmt.Errorf("pruning %s: keep at least 1 state, not %d", runDir, keep)
	}
	dir := filepath.Join(runDir, stateDir)
	steps, err := listSteps(dir)
	if err != nil {
		return err
	}
	for _, step := range steps[:max(0, len(steps)-keep)] {
		// Half a folder must never look like a state.
		doomed := filepath.Join(dir, tmpPrefix+"pruned-"+stepName(step))
		if err := os.Rename(filepath.Join(dir, stepName(step)), doomed); err != nil {
			return err
		}
		if err := os.RemoveAll(doomed); err != nil {
			return err
		}
	}
	return nil
}

// recoverStates clears away what a killed process left half-done, and brings back a
// state whose replacement did not arrive.
func recoverStates(runDir string) error {
	dir := filepath.Join(runDir, stateDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var leftovers []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if home, ok := strings.CutPrefix(e.Name(), oldPrefix); ok {
			home = filepath.Join(dir, home)
			if _, err := os.Stat(home); os.IsNotExist(err) {
				if err := os.Rename(path, home); err != nil {
					return err
				}
				continue
			}
			leftovers = append(leftovers, path)
		} else if strings.HasPrefix(e.Name(), tmpPrefix) {
			leftovers = append(leftovers, path)
		}
	}
	return removeAll(leftovers)
}

func removeAll(paths []string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, os.RemoveAll(path))
	}
	return errors.Join(errs...)
}

// leftoverFiles lists the files that SaveHF did not come to commit.
func leftoverFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}
