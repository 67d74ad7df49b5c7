package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sonde/compute"
	"sonde/nn"
)

// run is a training run in miniature: a state that depends on the step alone.
type run struct {
	maker
	dir              string
	weights, moments []nn.Param
}

func newRun(t *testing.T, rows int) *run {
	return makeRun(newMaker(t), filepath.Join(t.TempDir(), "run"), rows)
}

func makeRun(m maker, dir string, rows int) *run {
	r := &run{maker: m, dir: dir}
	r.weights = list(m.param("w", compute.F32, rows, 64), m.param("norm", compute.F32, 64))
	for _, p := range r.weights {
		for _, s := range []string{".m", ".v"} {
			r.moments = append(r.moments, m.param(p.Name+s, compute.F32, p.Shape...))
		}
	}
	return r
}

func (r *run) all() []nn.Param { return append(slices.Clone(r.weights), r.moments...) }

func (r *run) save(step int) error {
	r.random(r.all(), uint64(step))
	return SaveState(r.dir, step, State{Weights: r.weights, Moments: r.moments,
		Values: json.RawMessage(fmt.Sprintf(`{"step":%d}`, step)), Backend: r.be})
}

// check loads the newest state and makes sure that every bit is of its step.
func (r *run) check(t *testing.T, step, damaged int) {
	t.Helper()
	s, err := LoadLatest(r.dir)
	must(t, err)
	defer s.Close()
	if s.Step != step || len(s.Damaged) != damaged {
		t.Fatalf("state of step %d, passed over %v; expected step %d and %d passed over", s.Step, s.Damaged, step, damaged)
	}
	r.random(r.all(), uint64(step))
	want := r.contents(r.all())
	r.random(r.all(), 1<<40)
	must(t, s.Load(r.weights, r.moments, r.be))
	if r.contents(r.all()) != want {
		t.Fatalf("the state of step %d holds other values", step)
	}
	if string(s.Values) != fmt.Sprintf(`{"step":%d}`, step) || s.Kernels != r.be.Name() {
		t.Fatalf("values %s, kernels %q", s.Values, s.Kernels)
	}
}

func (r *run) path(step int, file string) string {
	return filepath.Join(r.dir, stateDir, stepName(step), file)
}

func TestStateRoundTrip(t *testing.T) {
	r := newRun(t, 50)
	if _, err := LoadLatest(r.dir); !errors.Is(err, ErrNoState) {
		t.Errorf("a run without states: %v", err)
	}
	for _, step := range []int{0, 7, 1200} {
		must(t, r.save(step))
		r.check(t, step, 0)
	}
	if got := names(t, filepath.Join(r.dir, stateDir)); !slices.Equal(got, []string{"step-00000000", "step-00000007", "step-00001200"}) {
		t.Errorf("folders %v", got)
	}
	raw, err := os.ReadFile(r.path(7, manifestName))
	must(t, err)
	for _, want := range []string{`"format": 1,`, `"step": 7`, `"kernels": "` + r.be.Name(), `"dtype":"F32","shape":[50,64]`, `"name":"norm.v"`, `"sha256":"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the manifest lacks %s:\n%s", want, raw)
		}
	}
}

func TestStateDemandsTheSameTensors(t *testing.T) {
	r := newRun(t, 4)
	must(t, r.save(1))
	s, err := LoadLatest(r.dir)
	must(t, err)
	defer s.Close()
	var le *LoadError
	half := r.param("w", compute.BF16, 4, 64)
	if err := s.Load(list(half, r.weights[1]), r.moments, r.be); !errors.As(err, &le) {
		t.Errorf("another format was accepted: %v", err)
	}
	if err := s.Load(r.weights, r.moments[:3], r.be); !errors.As(err, &le) {
		t.Errorf("a missing moment was accepted: %v", err)
	}
}

// TestStateEveryByteFlipped flips every byte of the headers and samples of the data
// of the newest state. It is never loaded.
func TestStateEveryByteFlipped(t *testing.T) {
	r := newRun(t, 10)
	must(t, r.save(1))
	must(t, r.save(2))
	for _, file := range []string{weightsFile, momentsFile, manifestName} {
		path := r.path(2, file)
		good, err := os.ReadFile(path)
		must(t, err)
		step := 1
		for i := 0; i < len(good); i += step {
			if i > 8+int(good[0])+int(good[1])<<8 || file == manifestName {
				step = 97
			}
			raw := bytes.Clone(good)
			raw[i] ^= 1 << (i % 8)
			must(t, os.WriteFile(path, raw, 0o644))
			s, err := LoadLatest(r.dir)
			if err != nil || s.Step != 1 || len(s.Damaged) != 1 {
				t.Fatalf("%s, byte %d flipped: %v, %+v", file, i, err, s)
			}
			s.Close()
		}
		must(t, os.WriteFile(path, good, 0o644))
	}
	r.check(t, 2, 0)
}

// TestManifestEveryByteFlipped changes every byte of a manifest in turn.
func TestManifestEveryByteFlipped(t *testing.T) {
	r := newRun(t, 1)
	must(t, r.save(1))
	raw, err := os.ReadFile(r.path(1, manifestName))
	must(t, err)
	for i, old := range raw {
		for _, x := range others(old) {
			raw[i] = x
			if _, err := decodeManifest("m", raw); err == nil {
				t.Fatalf("byte %d as %#x went unnoticed", i, x)
			}
		}
		raw[i] = old
	}
}

func TestStateTruncated(t *testing.T) {
	r := newRun(t, 2)
	must(t, r.save(1))
	must(t, r.save(2))
	for _, file := range []string{weightsFile, momentsFile, manifestName} {
		path := r.path(2, file)
		good, err := os.ReadFile(path)
		must(t, err)
		for n := range len(good) {
			if n%41 != 0 && n != len(good)-1 {
				continue
			}
			must(t, os.WriteFile(path, good[:n], 0o644))
			r.check(t, 1, 1)
		}
		must(t, os.Remove(path))
		r.check(t, 1, 1)
		must(t, os.WriteFile(path, append(bytes.Clone(good), 0), 0o644))
		r.check(t, 1, 1)
		must(t, os.WriteFile(path, good, 0o644))
	}
	r.check(t, 2, 0)
}

// TestT8ManifestIsHostile gives manifests that are correctly summed but lie.
func TestT8ManifestIsHostile(t *testing.T) {
	r := newRun(t, 4)
	must(t, r.save(1))
	must(t, r.save(2))
	path := r.path(2, manifestName)
	good, err := os.ReadFile(path)
	must(t, err)
	for _, c := range []struct {
		name string
		lie  func(m *manifest)
		want string
	}{
		{"another step", func(m *manifest) { m.Step = 3 }, "of step 3"},
		{"negative size", func(m *manifest) { m.Files[weightsFile] = manifestFile{-1, ""} }, "the manifest says -1"},
		{"huge size", func(m *manifest) { m.Files[weightsFile] = manifestFile{1 << 62, ""} }, "the manifest says"},
		{"no file", func(m *manifest) { delete(m.Files, momentsFile) }, "does not name it"},
		{"no hash", func(m *manifest) { m.Files[weightsFile] = manifestFile{m.Files[weightsFile].Bytes, ""} }, "SHA-256"},
		{"another shape", func(m *manifest) { m.Tensors[0].Shape = []int{64, 4} }, "the manifest lists it"},
		{"another dtype", func(m *manifest) { m.Tensors[0].DType = I32 }, "the manifest lists it"},
		{"a tensor less", func(m *manifest) { m.Tensors = m.Tensors[1:] }, ""},
		{"a tensor more", func(m *manifest) { m.Tensors = append(m.Tensors, manifestTensor{weightsFile, "x", F32, nil}) }, `"x"`},
		{"a file elsewhere", func(m *manifest) { m.Tensors[0].File = "../../x" }, ""},
	} {
		m, err := decodeManifest(path, good)
		must(t, err)
		c.lie(m)
		raw, err := m.encode()
		must(t, err)
		must(t, os.WriteFile(path, raw, 0o644))
		s, err := LoadLatest(r.dir)
		must(t, err)
		if s.Step != 1 || len(s.Damaged) != 1 || !isFormatError(s.Damaged[0]) || !strings.Contains(s.Damaged[0].Error(), c.want) {
			t.Errorf("%s: state %d, %v; expected %q", c.name, s.Step, s.Damaged, c.want)
		}
		s.Close()
	}
}

// TestT8StateFilesAreHostile replaces a file by a link, a pipe's name or a folder.
func TestT8StateFilesAreHostile(t *testing.T) {
	r := newRun(t, 4)
	must(t, r.save(1))
	must(t, r.save(2))
	path := r.path(2, weightsFile)
	moved := filepath.Join(t.TempDir(), weightsFile)
	must(t, os.Rename(path, moved))
	must(t, os.Mkdir(path, 0o755))
	r.check(t, 1, 1)
	must(t, os.Remove(path))
	if err := os.Symlink(moved, path); err != nil {
		t.Skipf("this system lets the test make no links: %v", err)
	}
	r.check(t, 1, 1)
}

func TestUnknownFormatIsRefusedByName(t *testing.T) {
	r := newRun(t, 4)
	must(t, r.save(1))
	must(t, r.save(2))
	path := r.path(2, manifestName)
	good, err := os.ReadFile(path)
	must(t, err)
	for _, number := range []string{"2", "0", "-1", "99"} {
		must(t, os.WriteFile(path, bytes.Replace(good, []byte(`"format": 1`), []byte(`"format": `+number), 1), 0o644))
		_, err := LoadLatest(r.dir)
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "format "+number+", this program reads format 1") {
			t.Errorf("format %s: %v", number, err)
		}
	}
}

func TestNoWholeState(t *testing.T) {
	r := newRun(t, 4)
	for step := range 3 {
		must(t, r.save(step))
		must(t, os.Truncate(r.path(step, momentsFile), 10))
	}
	_, err := LoadLatest(r.dir)
	if err == nil || errors.Is(err, ErrNoState) {
		t.Fatalf("got %v", err)
	}
	for step := range 3 {
		if !strings.Contains(err.Error(), r.path(step, momentsFile)) {
			t.Errorf("the error does not name step %d: %v", step, err)
		}
	}
}

// TestRunGoesBack goes on from an older state when the newest is damaged.
func TestRunGoesBack(t *testing.T) {
	r := newRun(t, 4)
	for _, step := range []int{10, 20, 30} {
		must(t, r.save(step))
	}
	must(t, os.Truncate(r.path(30, weightsFile), 100))
	r.check(t, 20, 1)
	must(t, r.save(25))
	r.check(t, 25, 0)
	if got := names(t, filepath.Join(r.dir, stateDir)); !slices.Equal(got, []string{"aside-step-00000030", "step-00000010", "step-00000020", "step-00000025"}) {
		t.Errorf("folders %v", got)
	}
	must(t, r.save(30))
	must(t, r.save(30)) // the same step once more
	r.check(t, 30, 0)
	must(t, Prune(r.dir, 2))
	if got := names(t, filepath.Join(r.dir, stateDir)); !slices.Equal(got, []string{"aside-step-00000030", "step-00000025", "step-00000030"}) {
		t.Errorf("folders after pruning: %v", got)
	}
	r.check(t, 30, 0)
	if Prune(r.dir, 0) == nil {
		t.Error("pruning everything was accepted")
	}
}

// TestLeftoversAreCleared puts what killed processes leave and takes the lock.
func TestLeftoversAreCleared(t *testing.T) {
	r := newRun(t, 4)
	must(t, r.save(1))
	must(t, r.save(2))
	states := filepath.Join(r.dir, stateDir)
	for _, leftover := range []string{".tmp-step-00000003", ".tmp-pruned-step-00000000", ".old-step-00000001"} {
		must(t, os.Mkdir(filepath.Join(states, leftover), 0o755))
		put(t, filepath.Join(states, leftover), weightsFile, []byte("half"))
	}
	put(t, r.dir, singleName+tmpSuffix, []byte("half"))
	must(t, os.Rename(filepath.Join(states, "step-00000002"), filepath.Join(states, ".old-step-00000002")))
	lock, err := LockRun(r.dir)
	must(t, err)
	defer lock.Unlock()
	if got := names(t, states); !slices.Equal(got, []string{"step-00000001", "step-00000002"}) {
		t.Errorf("states: %v", got)
	}
	if got := names(t, r.dir); !slices.Equal(got, []string{lockName, stateDir}) {
		t.Errorf("run: %v", got)
	}
	r.check(t, 2, 0)
}

func TestLockKeepsOthersOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	lock, err := LockRun(dir)
	must(t, err)
	_, err = LockRun(dir)
	if !errors.Is(err, ErrLocked) || !regexp.MustCompile(fmt.Sprintf(`process %d\)`, os.Getpid())).MatchString(err.Error()) {
		t.Errorf("the second run: %v", err)
	}
	must(t, lock.Unlock())
	put(t, dir, lockName, []byte("999999 and more rubbish than a number")) // a stale file means nothing
	again, err := LockRun(dir)
	must(t, err)
	must(t, again.Unlock())
	if raw, err := os.ReadFile(filepath.Join(dir, lockName)); err != nil || string(raw) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the lock file says %q, %v", raw, err)
	}
}

// TestStateWhereAFileStands meets obstacles that a user can put there.
func TestStateWhereAFileStands(t *testing.T) {
	r := newRun(t, 4)
	must(t, os.MkdirAll(r.dir, 0o755))
	put(t, r.dir, stateDir, []byte("a file"))
	var se *SaveError
	if err := r.save(1); !errors.As(err, &se) || !strings.Contains(err.Error(), stateDir) {
		t.Errorf("saving where a file stands: %v", err)
	}
	if _, err := LoadLatest(r.dir); err == nil {
		t.Error("a file was taken for a folder of states")
	}
	if err := SaveState(r.dir, -1, State{Backend: r.be}); err == nil {
		t.Error("a negative step was saved")
	}
	var pe *fs.PathError
	if err := SaveHF(filepath.Join(r.dir, stateDir), smallHF, nil, r.be, 0); !errors.As(err, &se) || !errors.As(err, &pe) {
		t.Errorf("a model saved where a file stands: %v", err)
	}
}

// TestFormat1Fixture reads a state as the first version of the format was written,
// for as long as it is to be read. SONDE_UPDATE=1 writes it anew.
func TestFormat1Fixture(t *testing.T) {
	r := newRun(t, 3)
	r.dir = filepath.Join("testdata", "format1")
	if os.Getenv("SONDE_UPDATE") != "" {
		must(t, r.save(3))
	}
	r.check(t, 3, 0)
}
