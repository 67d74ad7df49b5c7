package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"sonde/compute"
	"sonde/nn"
)

// Saved is a whole training state whose every byte agrees with its SHA-256.
type Saved struct {
	Dir     string
	Step    int
	Kernels string          // which kernels computed the run: Backend.Name
	Values  json.RawMessage // as given to SaveState
	// Damaged says, newest first, which later states were passed over and why. The
	// caller reports it.
	Damaged []error

	weights, moments tensorSet
}

// LoadLatest opens the newest whole state of a run. A state that is incomplete or
// whose sums do not match is passed over for the one before, see Damaged. A run
// without states is ErrNoState, a state of another format ErrFormat. It changes
// nothing on disk; a run that means to go on takes LockRun first, which clears what a
// killed run left. Call Close when the state is loaded, and before the next save.
func LoadLatest(runDir string) (*Saved, error) {
	dir := filepath.Join(runDir, stateDir)
	steps, err := listSteps(dir)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoState)
	}
	var damaged []error
	for _, step := range slices.Backward(steps) {
		s, err := openState(filepath.Join(dir, stepName(step)), step)
		if err == nil {
			s.Damaged = damaged
			return s, nil
		}
		if errors.Is(err, ErrFormat) || errors.Is(err, os.ErrPermission) {
			return nil, err
		}
		damaged = append(damaged, err)
	}
	return nil, fmt.Errorf("%s: no state is whole; move the folder away to begin anew:\n%w", dir, errors.Join(damaged...))
}

// Load fills the parameters that SaveState was given, bit for bit. Names, shapes and
// formats must agree; otherwise a *LoadError lists the differences.
func (s *Saved) Load(weights, moments []nn.Param, be compute.Backend) error {
	if err := s.weights.load(weights, be, true); err != nil {
		return err
	}
	return s.moments.load(moments, be, true)
}

// Close closes the state's files.
func (s *Saved) Close() error { return errors.Join(s.weights.close(), s.moments.close()) }

func openState(dir string, step int) (*Saved, error) {
	path := filepath.Join(dir, manifestName)
	raw, err := readMember(dir, manifestName, maxJSON)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, &FormatError{Path: path, Problem: "does not exist, so the state was never finished"}
	}
	m, err := decodeManifest(path, raw)
	if err != nil {
		return nil, err
	}
	if m.Step != step {
		return nil, &FormatError{Path: path, Problem: fmt.Sprintf("is of step %d, its folder of step %d", m.Step, step)}
	}
	s := &Saved{Dir: dir, Step: step, Kernels: m.Kernels, Values: m.Values}
	for name, set := range map[string]*tensorSet{weightsFile: &s.weights, momentsFile: &s.moments} {
		set.path = filepath.Join(dir, name)
		if err := set.add(openSummed(dir, name, m)); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// openSummed opens one file of a state after checking that it is the one the
// manifest describes.
func openSummed(dir, name string, m *manifest) (*File, error) {
	path := filepath.Join(dir, name)
	f, err := openMember(dir, name)
	if err != nil {
		return nil, err
	}
	want, ok := m.Files[name]
	if !ok {
		f.Close()
		return nil, &FormatError{Path: path, Problem: "the manifest does not name it"}
	}
	if err := checkSum(f, path, want); err != nil {
		f.Close()
		return nil, err
	}
	file, err := newFile(path, f)
	if err != nil {
		return nil, err
	}
	if err := checkTensors(file, name, m); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func checkSum(f *os.File, path string, want manifestFile) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != want.Bytes {
		return &FormatError{Path: path, Problem: fmt.Sprintf("has %d bytes, the manifest says %d", info.Size(), want.Bytes)}
	}
	h := sha256.New()
	// The buffer is larger than io.Copy's: fewer calls into the system per byte hashed.
	if _, err := io.CopyBuffer(h, io.NewSectionReader(f, 0, want.Bytes), make([]byte, 1<<20)); err != nil {
		return readError(path, "", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.SHA256 {
		return &FormatError{Path: path, Problem: fmt.Sprintf("its SHA-256 is %s, the manifest says %s", got, quote(want.SHA256))}
	}
	return nil
}

// checkTensors compares a file's header with the manifest's list.
func checkTensors(file *File, name string, m *manifest) error {
	at := 0
	for _, t := range m.Tensors {
		if t.File != name {
			continue
		}
		if at == len(file.tensors) || file.tensors[at].Name != t.Name || file.tensors[at].DType != t.DType ||
			!slices.Equal(file.tensors[at].Shape, t.Shape) {
			return &FormatError{Path: file.path, Tensor: t.Name, Problem: fmt.Sprintf("the manifest lists it as %s %v, the file does not", t.DType, t.Shape)}
		}
		at++
	}
	if at != len(file.tensors) {
		return &FormatError{Path: file.path, Problem: fmt.Sprintf("has %d tensors, the manifest lists %d", len(file.tensors), at)}
	}
	return nil
}
