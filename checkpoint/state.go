package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"sonde/compute"
	"sonde/nn"
)

// A run's folder holds the model in Hugging Face's layout and, beside it,
//
//	.lock                       held while a run works in the folder
//	state/step-00001200/        one folder per saved step
//	  weights.safetensors       master weights
//	  moments.safetensors       the optimiser's moments
//	  manifest.json             format, step, kernels, names, shapes, SHA-256; written last
//	state/.tmp-step-00001300/   being written, or left by a killed run
//	state/.old-step-00001200/   being replaced by a state of the same step
//	state/aside-step-00001300/  a state that a run went back before, kept for people
const (
	stateDir     = "state"
	weightsFile  = "weights.safetensors"
	momentsFile  = "moments.safetensors"
	manifestName = "manifest.json"

	stepPrefix  = "step-"
	tmpPrefix   = ".tmp-"
	oldPrefix   = ".old-"
	asidePrefix = "aside-"
)

// State is what a run needs to go on as if it had never stopped.
type State struct {
	Weights []nn.Param // float32 masters
	Moments []nn.Param // AdamW's m and v, under names of the caller's
	// Values is the small rest as JSON: random state, place in the data, schedule,
	// hashes of tokenizer and config.
	Values  json.RawMessage
	Backend compute.Backend
}

// SaveState commits the state of one step: either the whole state is there
// afterwards, or what was there before is untouched and the error, a *SaveError,
// names the file that failed and the last good state. The caller holds the run's lock.
// It replaces a state of the same step; states of later steps, which a run that goes
// back leaves behind, are set aside.
func SaveState(runDir string, step int, s State) error {
	if step < 0 {
		return fmt.Errorf("saving state: step %d is negative", step)
	}
	if err := errors.Join(checkParams(s.Weights), checkParams(s.Moments)); err != nil {
		return fmt.Errorf("saving state of step %d: %w", step, err)
	}
	dir := filepath.Join(runDir, stateDir)
	final := filepath.Join(dir, stepName(step))
	good := newestState(runDir)
	err := makeDir(dir)
	if err == nil {
		err = recoverStates(runDir)
	}
	if err != nil {
		return &SaveError{File: dir, LastGood: good, Err: err}
	}
	tmp := filepath.Join(dir, tmpPrefix+stepName(step))
	if name, err := writeState(tmp, step, s); err != nil {
		os.RemoveAll(tmp)
		return &SaveError{File: filepath.Join(final, name), LastGood: good, Err: err}
	}
	if err := commitState(dir, step); err != nil {
		return &SaveError{File: final, LastGood: good, Err: err}
	}
	return setAside(dir, step)
}

// writeState fills the folder tmp and makes sure it is on disk. On failure it names
// the file concerned.
func writeState(tmp string, step int, s State) (file string, err error) {
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", err
	}
	m := manifest{Format: stateFormat, Step: step, Kernels: s.Backend.Name(), Values: s.Values, Files: map[string]manifestFile{}}
	if m.Values == nil {
		m.Values = json.RawMessage("{}")
	}
	buf := make([]byte, pieceBytes)
	for _, part := range []struct {
		name   string
		params []nn.Param
	}{{weightsFile, s.Weights}, {momentsFile, s.Moments}} {
		tensors := outTensors(part.params, s.Backend, buf)
		sum := &summer{hash: sha256.New()}
		err := writeSynced(filepath.Join(tmp, part.name), func(w io.Writer) error {
			return writeTensors(io.MultiWriter(w, sum), tensors, nil)
		})
		if err != nil {
			return part.name, err
		}
		m.Files[part.name] = manifestFile{sum.bytes, hex.EncodeToString(sum.hash.Sum(nil))}
		for _, t := range fileOrder(tensors) {
			m.Tensors = append(m.Tensors, manifestTensor{part.name, t.name, t.dtype, t.shape})
		}
	}
	raw, err := m.encode()
	if err == nil {
		err = writeSynced(filepath.Join(tmp, manifestName), writeBytes(raw))
	}
	if err != nil {
		return manifestName, err
	}
	return "", syncDir(tmp)
}

// summer hashes and counts what is written to it.
type summer struct {
	hash  hash.Hash
	bytes int64
}

// Write never fails.
func (s *summer) Write(b []byte) (int, error) {
	s.bytes += int64(len(b))
	return s.hash.Write(b)
}

// commitState gives the written folder its name.
func commitState(dir string, step int) error {
	final := filepath.Join(dir, stepName(step))
	old := filepath.Join(dir, oldPrefix+stepName(step))
	// A folder cannot be renamed over another: the one it replaces steps back first,
	// and recoverStates brings it home if the process dies in between.
	replaces := false
	if err := os.Rename(final, old); err == nil {
		replaces = true
	} else if !os.IsNotExist(err) {
		return err
	}
	if err := os.Rename(filepath.Join(dir, tmpPrefix+stepName(step)), final); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if replaces {
		return os.RemoveAll(old)
	}
	return nil
}

// setAside renames states later than step, so that they are neither resumed from nor
// counted by Prune.
func setAside(dir string, step int) error {
	steps, err := listSteps(dir)
	if err != nil {
		return err
	}
	for _, later := range steps {
		if later <= step {
			continue
		}
		aside := filepath.Join(dir, asidePrefix+stepName(later))
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, stepName(later)), aside); err != nil {
			return err
		}
	}
	return nil
}
