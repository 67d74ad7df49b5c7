package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// lockName is the file whose lock says that a run works in a folder. The file stays;
// the lock goes with the process that holds it, however it ends, so a stale file
// means nothing.
const lockName = ".lock"

// Lock is the right to write in a run's folder.
type Lock struct{ f *os.File }

// LockRun takes the run's folder, creating it where needed, and clears away what a
// killed run left half-written. Where another process holds it, the error is
// ErrLocked and names that process.
func LockRun(runDir string) (*Lock, error) {
	if err := makeDir(runDir); err != nil {
		return nil, err
	}
	path := filepath.Join(runDir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("%s: %w (process %s): stop it, wait for it, or choose another folder",
				runDir, ErrLocked, strings.TrimSpace(string(holder[:n])))
		}
		return nil, fmt.Errorf("locking %s: %w (does its file system support locks?)", path, err)
	}
	leftovers, err := leftoverFiles(runDir)
	if err := errors.Join(err, removeAll(leftovers), recoverStates(runDir)); err != nil {
		f.Close()
		return nil, err
	}
	// The process is named for people's sake alone; a failure to write it is harmless.
	f.Truncate(0)
	f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return &Lock{f}, nil
}

// Unlock gives the folder back.
func (l *Lock) Unlock() error { return l.f.Close() }
