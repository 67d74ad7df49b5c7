package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"sync"
)

// partial is a file that is being fetched in parts: the bytes beside a note of which
// parts are there. The names differ from those of Hugging Face's tools, whose partial
// files have no holes.
type partial struct {
	path, notes string
	size, part  int64

	mu   sync.Mutex
	file *os.File
	have []int64 // bytes of each part that are there, from its beginning
}

type partialNotes struct {
	Format int     `json:"format"`
	Size   int64   `json:"size"`
	Part   int64   `json:"part"`
	Have   []int64 `json:"have"`
}

func readNotes(path string, size int64) *partialNotes {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var n partialNotes
	if json.Unmarshal(raw, &n) != nil || n.Format != 1 || n.Size != size || n.Part < 1<<16 || int64(len(n.Have)) != countParts(size, n.Part) {
		return nil
	}
	for i, h := range n.Have {
		if h < 0 || h > min(n.Part, size-int64(i)*n.Part) {
			return nil
		}
	}
	return &n
}

func countParts(size, part int64) int64 { return (size + part - 1) / part }

// doneBytes is what an earlier pull left of a blob.
func doneBytes(blob string, size int64) (n int64) {
	info, err := os.Stat(blob + ".sonde-partial")
	notes := readNotes(blob+".sonde-parts", size)
	if err != nil || notes == nil || info.Size() > size {
		return 0
	}
	for _, h := range notes.Have {
		n += h
	}
	return n
}

// openPartial opens what an earlier pull left, or begins anew.
func openPartial(blob string, size, part int64) (*partial, error) {
	d := &partial{path: blob + ".sonde-partial", notes: blob + ".sonde-parts", size: size, part: part}
	if n := readNotes(d.notes, size); n != nil && doneBytes(blob, size) > 0 {
		d.part, d.have = n.Part, n.Have
	} else {
		d.have = make([]int64, countParts(size, part))
		if err := d.remove(); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o644)
	d.file = f
	return d, err
}

func (d *partial) done() (n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.have {
		n += h
	}
	return n
}

// span is what is missing of part i: [from, to).
func (d *partial) span(i int) (from, to int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	begin := int64(i) * d.part
	return begin + d.have[i], min(begin+d.part, d.size)
}

// add notes n bytes more of part i.
func (d *partial) add(i int, n int64) {
	d.mu.Lock()
	d.have[i] += n
	d.mu.Unlock()
}

// save writes the note; what it claims must be on the disk first.
func (d *partial) save() error {
	if err := d.file.Sync(); err != nil {
		return err
	}
	d.mu.Lock()
	raw, err := json.Marshal(partialNotes{1, d.size, d.part, d.have})
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.notes+".tmp", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(d.notes+".tmp", d.notes)
}

func (d *partial) close() error {
	err := d.save()
	return errors.Join(err, d.file.Close())
}

func (d *partial) remove() error {
	for _, p := range []string{d.path, d.notes} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkHash compares a file with what the hub announced of it.
func checkHash(ctx context.Context, path string, f File) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.Size {
		return fmt.Errorf("%w: it has %d bytes, announced are %d", ErrMismatch, info.Size(), f.Size)
	}
	h, what := sha256.New(), "SHA-256"
	if len(f.Hash) == 40 {
		h, what = sha1.New(), "Git's SHA-1"
		fmt.Fprintf(h, "blob %d\x00", f.Size)
	}
	if err := hashFile(ctx, h, file); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != f.Hash {
		return fmt.Errorf("%w: its %s is %s, announced is %s", ErrMismatch, what, got, f.Hash)
	}
	return nil
}

func hashFile(ctx context.Context, h hash.Hash, r io.Reader) error {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
