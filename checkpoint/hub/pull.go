package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sonde/checkpoint"
)

// Progress is told how far a pull is. Its calls do not overlap.
type Progress func(State)

// State is how far a pull is.
type State struct {
	Doing       string // "fetching" or "checking"
	File        string
	Done, Total int64 // bytes of all files, those that were there included
	Fresh       int64 // bytes that came over the network in this pull
	Waiting     error // what the last try failed with, while the next is awaited
}

// Pull fetches what n means, as far as the cache lacks it, and returns the snapshot.
// Interrupted, it leaves what came, and the next pull goes on from there. A file is in
// its place only after its hash was found right.
func (c *Client) Pull(ctx context.Context, n Name, report Progress) (*Snapshot, error) {
	commit, all, err := c.List(ctx, n)
	if err != nil {
		return nil, err
	}
	files, err := choose(n, all)
	if err != nil {
		return nil, err
	}
	root := filepath.Join(c.Cache, n.folder())
	p := &pull{c: c, n: n, commit: commit, blobs: filepath.Join(root, "blobs"), snapshot: filepath.Join(root, "snapshots", commit), report: report}
	if err := os.MkdirAll(p.blobs, 0o755); err != nil {
		return nil, err
	}
	if err := p.space(files); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := p.file(ctx, f); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", f.Name, n.Repo, err)
		}
	}
	if !commitPattern.MatchString(n.Revision) {
		if err := writeRef(filepath.Join(root, "refs", filepath.FromSlash(n.Revision)), commit); err != nil {
			return nil, err
		}
	}
	return c.Find(n)
}

// writeRef notes the commit of a branch in a file that is replaced whole.
func writeRef(path, commit string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(commit), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// pull is one in progress.
type pull struct {
	c               *Client
	n               Name
	commit          string
	blobs, snapshot string
	state           State
	report          Progress
}

func (p *pull) tell(change func(*State)) {
	change(&p.state)
	if p.report != nil {
		p.report(p.state)
	}
}

// space counts what there is and what is missing, and asks the disk before anything is
// fetched.
func (p *pull) space(files []File) error {
	missing := int64(0)
	for _, f := range files {
		p.state.Total += f.Size
		if f.Size < 0 || p.state.Total < 0 {
			return fmt.Errorf("%w: sizes add up to more than there can be", ErrMismatch)
		}
		if _, err := os.Stat(filepath.Join(p.blobs, f.Hash)); err != nil {
			missing += f.Size - doneBytes(p.blob(f), f.Size)
		}
	}
	free, err := checkpoint.FreeBytes(p.blobs)
	if err != nil {
		return nil // a file system that does not tell: a full disk shows itself
	}
	const reserve = 64 << 20
	if missing+reserve > free {
		return fmt.Errorf("%w: %s takes %s more, and %s has %s free; set HF_HOME to a folder on a larger disk, or free some (\"sonde list\", \"sonde rm\")",
			ErrSpace, p.n, Size(missing), p.blobs, Size(free))
	}
	return nil
}

func (p *pull) blob(f File) string { return filepath.Join(p.blobs, f.Hash) }

func (p *pull) address(f File) string {
	parts := strings.Split(f.Name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return fmt.Sprintf("%s/%s/resolve/%s/%s", p.c.Endpoint, p.n.Repo, p.commit, strings.Join(parts, "/"))
}

// file brings one file into the snapshot.
func (p *pull) file(ctx context.Context, f File) error {
	blob := p.blob(f)
	if info, err := os.Stat(blob); err == nil && info.Size() == f.Size {
		p.tell(func(s *State) { s.Doing, s.File, s.Done = "fetching", f.Name, s.Done+f.Size })
		return p.place(f, blob)
	}
	unlock, err := lockBlob(blob)
	if err != nil {
		return err
	}
	defer unlock()
	before := p.state.Done
	for try := 0; ; try++ {
		d, err := openPartial(blob, f.Size, p.c.PartBytes)
		if err != nil {
			return err
		}
		p.tell(func(s *State) { s.Doing, s.File, s.Done = "fetching", f.Name, before+d.done() })
		err = p.fetch(ctx, f, d)
		if cerr := d.close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		p.tell(func(s *State) { s.Doing, s.Done = "checking", before+f.Size })
		err = checkHash(ctx, d.path, f)
		if err == nil {
			return p.finish(f, d, blob)
		}
		if !errors.Is(err, ErrMismatch) {
			return err
		}
		if rerr := d.remove(); rerr != nil {
			return rerr
		}
		if try == 1 {
			return fmt.Errorf("%w; it was fetched twice and removed: try later, or another HF_ENDPOINT", err)
		}
	}
}

func (p *pull) finish(f File, d *partial, blob string) error {
	if err := os.Rename(d.path, blob); err != nil {
		return err
	}
	_ = os.Remove(d.notes)
	return p.place(f, blob)
}

// place links the blob into the snapshot, as Hugging Face's tools do; where links are
// not to be had, the blob itself goes there.
func (p *pull) place(f File, blob string) error {
	path := filepath.Join(p.snapshot, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Size() == f.Size {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	if err := os.Symlink(target, path); err == nil {
		return nil
	}
	return os.Rename(blob, path)
}
