package checkpoint

import (
	"io"
	"os"
	"path/filepath"
)

// tmpSuffix marks a file that is being written beside the one it will replace. The
// name is always the same, so that a leftover is overwritten by the next attempt.
const tmpSuffix = ".sonde-tmp"

// replacement is a set of files written beside those they will replace. Nothing
// visible changes before commit.
type replacement struct {
	dir   string
	names []string
}

// write writes one file and makes sure it is on disk.
func (r *replacement) write(name string, fill func(io.Writer) error) error {
	r.names = append(r.names, name)
	return writeSynced(filepath.Join(r.dir, name+tmpSuffix), fill)
}

// commit puts the files in their places, in the order they were written.
func (r *replacement) commit() error {
	for i, name := range r.names {
		path := filepath.Join(r.dir, name)
		if err := os.Rename(path+tmpSuffix, path); err != nil {
			r.names = r.names[i:]
			r.discard()
			return err
		}
	}
	r.names = nil
	return syncDir(r.dir)
}

// discard removes what was written and not committed.
func (r *replacement) discard() {
	for _, name := range r.names {
		os.Remove(filepath.Join(r.dir, name+tmpSuffix))
	}
	r.names = nil
}

// writeSynced creates path anew, lets fill write it, and waits until it is on disk.
// A file that could not be written whole is removed.
func writeSynced(path string, fill func(io.Writer) error) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// makeDir creates a folder and its parents, each of them safely on disk.
func makeDir(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	if up := filepath.Dir(path); up != path {
		if err := makeDir(up); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	return syncDir(filepath.Dir(path))
}
