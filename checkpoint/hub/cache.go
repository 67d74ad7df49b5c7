package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cacheFolder is where Hugging Face's tools keep models, and their home.
func cacheFolder(getenv func(string) string) (cache, home string, err error) {
	home = getenv("HF_HOME")
	if home == "" {
		base := getenv("XDG_CACHE_HOME")
		if base == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return "", "", fmt.Errorf("where models are kept is not known (%w): set HF_HOME to a folder", err)
			}
			base = filepath.Join(user, ".cache")
		}
		home = filepath.Join(base, "huggingface")
	}
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if dir := getenv(name); dir != "" {
			return dir, home, nil
		}
	}
	return filepath.Join(home, "hub"), home, nil
}

// token is the user's, from the environment or from where the login command of Hugging
// Face's tools leaves it.
func token(getenv func(string) string, home string) string {
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if t := strings.TrimSpace(getenv(name)); t != "" {
			return t
		}
	}
	path := getenv("HF_TOKEN_PATH")
	if path == "" {
		path = filepath.Join(home, "token")
	}
	raw, err := os.ReadFile(path)
	if err != nil || len(raw) > 4096 {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// Snapshot is one revision of a model in the cache.
type Snapshot struct {
	Name   Name
	Commit string
	Path   string // folder of the snapshot
	Files  []File // without hashes
	Bytes  int64
	Used   time.Time // when a file of it was last fetched
}

// Find is the cached snapshot of a revision; it asks nobody. A missing one is an error
// that errors.Is finds to be fs.ErrNotExist.
func (c *Client) Find(n Name) (*Snapshot, error) {
	root := filepath.Join(c.Cache, n.folder())
	commit := n.Revision
	if !commitPattern.MatchString(commit) {
		raw, err := os.ReadFile(filepath.Join(root, "refs", filepath.FromSlash(n.Revision)))
		if err != nil {
			return nil, err
		}
		commit = strings.TrimSpace(string(raw))
		if !commitPattern.MatchString(commit) {
			return nil, fmt.Errorf("%s names no commit: remove the model with \"sonde rm %s\" and pull it again", filepath.Join(root, "refs", n.Revision), n.Repo)
		}
	}
	s := &Snapshot{Name: n, Commit: commit, Path: filepath.Join(root, "snapshots", commit)}
	err := filepath.WalkDir(s.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path) // through the link
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a link whose file was removed
			}
			return err
		}
		rel, _ := filepath.Rel(s.Path, path)
		s.Files = append(s.Files, File{Name: filepath.ToSlash(rel), Size: info.Size()})
		s.Bytes += info.Size()
		if info.ModTime().After(s.Used) {
			s.Used = info.ModTime()
		}
		return nil
	})
	if err == nil && len(s.Files) == 0 {
		err = fs.ErrNotExist
	}
	return s, err
}

// Model is the path that opens what the name means: the snapshot's folder, or the first
// file of the GGUF that is chosen.
func (s *Snapshot) Model() (string, error) {
	files, err := choose(s.Name, s.Files)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".gguf") {
			return filepath.Join(s.Path, filepath.FromSlash(f.Name)), nil
		}
	}
	if !slices.ContainsFunc(files, func(f File) bool { return strings.HasSuffix(f.Name, ".safetensors") }) {
		return "", fmt.Errorf("%w: %s is in the cache without weights", fs.ErrNotExist, s.Name)
	}
	return s.Path, nil
}

// All lists the models in the cache by name, one entry a revision that is named.
func (c *Client) All() ([]*Snapshot, error) {
	dirs, err := os.ReadDir(c.Cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Snapshot
	for _, d := range dirs {
		rest, ok := strings.CutPrefix(d.Name(), "models--")
		org, name, two := strings.Cut(rest, "--")
		if !ok || !two {
			continue
		}
		refs := filepath.Join(c.Cache, d.Name(), "refs")
		_ = filepath.WalkDir(refs, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil
			}
			rev, _ := filepath.Rel(refs, path)
			n, err := ParseName(org + "/" + name + "@" + filepath.ToSlash(rev))
			if err != nil {
				return nil
			}
			if s, err := c.Find(n); err == nil {
				out = append(out, s)
			}
			return nil
		})
	}
	return out, nil
}

// Remove deletes a model with all its revisions and returns the bytes that it took.
func (c *Client) Remove(n Name) (int64, error) {
	root := filepath.Join(c.Cache, n.folder())
	if _, err := os.Lstat(root); err != nil {
		return 0, err
	}
	var size int64
	_ = filepath.WalkDir(filepath.Join(root, "blobs"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	_ = os.RemoveAll(filepath.Join(c.Cache, ".locks", n.folder()))
	return size, os.RemoveAll(root)
}
