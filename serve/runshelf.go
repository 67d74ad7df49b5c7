package serve

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds on what is searched and kept.
const (
	maxRuns   = 500 // in the list
	maxFolder = 5000
	maxLogs   = 32 // in memory
)

// shelf finds the runs in some folders and keeps what was read of their logs.
type shelf struct {
	folders []string

	mu      sync.Mutex
	runs    []runFolder
	scanned time.Time
	logs    map[string]*keptLog // by id
}

type keptLog struct {
	*runLog
	used time.Time
}

func newShelf(folders []string) *shelf {
	return &shelf{folders: folders, logs: map[string]*keptLog{}}
}

// scan looks for runs, at most once a second.
func (s *shelf) scan() []runFolder {
	const pause = time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.scanned.IsZero() || time.Since(s.scanned) > pause {
		s.runs, s.scanned = s.search(), time.Now()
	}
	return s.runs
}

// find is the run of that id.
func (s *shelf) find(id string) (runFolder, error) {
	for _, d := range s.scan() {
		if d.id == id {
			return d, nil
		}
	}
	return runFolder{}, fail(http.StatusNotFound, "invalid_request_error", "id", "run_not_found",
		"there is no run "+quoteShort(id)+" here; GET /api/runs lists what there is")
}

// log is what is kept of a run's log, without what is new in the file.
func (s *shelf) log(id string) *runLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.logs[id]
	if kept == nil {
		if len(s.logs) >= maxLogs {
			s.dropOldest()
		}
		kept = &keptLog{runLog: newRunLog()}
		s.logs[id] = kept
	}
	kept.used = time.Now()
	return kept.runLog
}

func (s *shelf) dropOldest() {
	oldest := ""
	for id, l := range s.logs {
		if oldest == "" || l.used.Before(s.logs[oldest].used) {
			oldest = id
		}
	}
	delete(s.logs, oldest)
}

func (s *shelf) search() []runFolder {
	var out []runFolder
	for _, base := range s.folders {
		found := searchFolder(base)
		for _, d := range found {
			if len(out) < maxRuns {
				out = append(out, d)
			}
		}
	}
	unique(out)
	return out
}

// unique gives runs of equal ids, from different folders, different ones.
func unique(runs []runFolder) {
	taken := map[string]bool{}
	for i := range runs {
		id := runs[i].id
		for n := 2; taken[runs[i].id]; n++ {
			runs[i].id = id + "~" + strconv.Itoa(n)
			runs[i].name = runs[i].id
		}
		taken[runs[i].id] = true
	}
}

// searchFolder finds a folder's runs: itself, or those at most two folders below.
func searchFolder(base string) []runFolder {
	root, err := os.OpenRoot(base)
	if err != nil {
		return nil
	}
	defer root.Close()
	name := filepath.Base(base)
	if full, err := filepath.Abs(base); err == nil {
		name = filepath.Base(full)
	}
	if isRun(root, ".") {
		return withStages(root, runFolder{name: name, base: base, sub: "."})
	}
	return searchBelow(root, base, ".", 2)
}

func searchBelow(root *os.Root, base, dir string, depth int) []runFolder {
	var out []runFolder
	for _, sub := range foldersIn(root, dir) {
		switch {
		case isRun(root, sub):
			out = append(out, withStages(root, runFolder{name: sub, base: base, sub: sub})...)
		case depth > 1:
			out = append(out, searchBelow(root, base, sub, depth-1)...)
		}
	}
	return out
}

// foldersIn are the folders within dir, in order, links left out.
func foldersIn(root *os.Root, dir string) []string {
	f, err := root.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	entries, err := f.ReadDir(maxFolder)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// isRun reports whether a folder holds one of the files that make it a run's.
func isRun(root *os.Root, dir string) bool {
	for _, name := range []string{"run.json", "stages.json", "log.jsonl"} {
		if info, err := root.Lstat(path.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// withStages is a run followed by its stages, which are runs of their own.
func withStages(root *os.Root, d runFolder) []runFolder {
	d.id = stageID(d.name)
	out := []runFolder{d}
	own, err := root.OpenRoot(d.sub)
	if err != nil {
		return out
	}
	defer own.Close()
	for _, st := range readStages(own) {
		out = append(out, runFolder{
			id: d.id + ":" + stageID(st.ID), name: st.Name, parent: d.id,
			base: d.base, sub: path.Join(d.sub, st.ID), stage: &st,
		})
	}
	return out
}

// stageID makes one part of a URL of a path.
func stageID(folder string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(filepath.ToSlash(folder), "_"), "/", ":")
}

// openRegular opens a file of the run. Anything else by that name, such as a pipe,
// which would keep the reader waiting, is refused.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return root.Open(name)
}

// readSmall is a whole file of at most limit bytes.
func readSmall(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return raw, err
}

// notThere reports whether err says that a file is missing.
func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
