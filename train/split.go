package train

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"unsafe"

	"sonde/compute"
)

// buckets is how finely the space of hashes is cut when the held-out part is chosen.
const buckets = 1 << 16

// corpus is all documents of a run in a fixed order, each once.
type corpus struct {
	sources  []source
	field    string
	piece    int
	heldout  uint32 // documents whose hash lies in a bucket below this are held out
	sample   uint32 // documents whose second bucket lies below this train the tokenizer
	hash     string // SHA-256 over the hashes of the documents in order
	counts   Counts
	problems error // the first line or row without text
}

// document is one text with its SHA-256.
type document struct {
	text []byte // valid during the call that hands it over
	hash [sha256.Size]byte
}

func (d *document) bucket() uint32 { return uint32(binary.BigEndian.Uint16(d.hash[:])) }

func (c *corpus) held(d *document) bool { return d.bucket() < c.heldout }

// forTokenizer picks a share of the training side by other bits of the hash.
func (c *corpus) forTokenizer(d *document) bool {
	return !c.held(d) && uint32(binary.BigEndian.Uint16(d.hash[2:])) < c.sample
}

// each yields every distinct document and counts into counts.
func (c *corpus) each(counts *Counts, yield func(*document) error) error {
	seen, err := newHashSet()
	if err != nil {
		return err
	}
	defer seen.free()
	r := reader{field: c.field, piece: c.piece, counts: counts}
	defer func() { c.problems = r.first }()
	var d document
	for _, s := range c.sources {
		err := r.each(s, func(text []byte) error {
			d.text, d.hash = text, sha256.Sum256(text)
			fresh, err := seen.add(d.hash)
			if err != nil {
				return err
			}
			if !fresh {
				counts.Duplicates++
				return nil
			}
			counts.Documents++
			counts.Bytes += int64(len(text))
			return yield(&d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scan reads everything once: it counts, hashes, and places the border between the
// training and the held-out side at fraction of the hashes, or lower, so that about
// maxHeldout bytes at most are held out.
func (c *corpus) scan(fraction float64, maxHeldout int64) error {
	all := sha256.New()
	bytes := make([]int64, buckets)
	err := c.each(&c.counts, func(d *document) error {
		bytes[d.bucket()] += int64(len(d.text))
		all.Write(d.hash[:])
		return nil
	})
	if err != nil {
		return err
	}
	if c.counts.Documents == 0 {
		return c.nothing()
	}
	for c.heldout < uint32(fraction*buckets) && (c.counts.HeldoutBytes+bytes[c.heldout] <= maxHeldout || c.counts.HeldoutBytes == 0) {
		c.counts.HeldoutBytes += bytes[c.heldout]
		c.heldout++
	}
	c.counts.TrainBytes = c.counts.Bytes - c.counts.HeldoutBytes
	c.hash = c.digest(all)
	return c.oneSided(fraction)
}

func (c *corpus) digest(all hash.Hash) string {
	fmt.Fprintf(all, "held out below bucket %d", c.heldout)
	return fmt.Sprintf("%x", all.Sum(nil))
}

func (c *corpus) nothing() error {
	n := c.counts
	what := "no file"
	switch {
	case n.Binary > 0 && n.Malformed == 0:
		what = fmt.Sprintf("only files that are not UTF-8 text (%d)", n.Binary)
	case n.Malformed > 0:
		what = fmt.Sprintf("no usable text: %d lines or rows were passed over, the first is %v", n.Malformed, c.problems)
	case n.Empty > 0:
		what = fmt.Sprintf("only empty files (%d)", n.Empty)
	case n.Ignored > 0:
		what = fmt.Sprintf("only files that a .gitignore excludes (%d)", n.Ignored)
	case n.Unreadable > 0:
		what = fmt.Sprintf("only files that cannot be opened (%d)", n.Unreadable)
	}
	return fmt.Errorf("the data holds %s: name text files, folders, globs, .jsonl or .parquet files with --data", what)
}

func (c *corpus) oneSided(fraction float64) error {
	n := c.counts
	if n.HeldoutBytes == 0 {
		return fmt.Errorf("none of the %s fell on the held-out side (%.3g %% of hashes), so progress could not be judged: give more documents, a larger share with --heldout (such as 0.2), or cut long files into shorter documents with --piece (such as 16384)",
			count(n.Documents, "document"), 100*fraction)
	}
	if n.TrainBytes == 0 {
		return fmt.Errorf("all of the %s fell on the held-out side (%.3g %% of hashes), so nothing is left to learn from: give more documents, a smaller share with --heldout, or cut long files into shorter documents with --piece (such as 16384)",
			count(n.Documents, "document"), 100*fraction)
	}
	return nil
}

// hashSet remembers documents by the first 16 bytes of their hashes, outside Go's
// heap: open addressing, doubled when half full.
type hashSet struct {
	mem   compute.HostMemory
	slots [][2]uint64 // the zero key marks a free slot
	used  int
}

func newHashSet() (*hashSet, error) {
	s := &hashSet{}
	return s, s.resize(1 << 14)
}

func (s *hashSet) resize(n int) error {
	p, err := s.mem.Map(n * 16)
	if err != nil {
		return fmt.Errorf("remembering the documents seen: %w", err)
	}
	old := s.slots
	s.slots, s.used = unsafe.Slice((*[2]uint64)(p), n), 0
	for _, k := range old {
		if k != [2]uint64{} {
			s.put(k)
		}
	}
	s.unmap(old)
	return nil
}

func (s *hashSet) unmap(slots [][2]uint64) {
	if slots != nil {
		s.mem.Unmap(unsafe.Pointer(unsafe.SliceData(slots)), len(slots)*16)
	}
}

// add reports whether h was not there before.
func (s *hashSet) add(h [sha256.Size]byte) (bool, error) {
	if 2*s.used >= len(s.slots) {
		if err := s.resize(2 * len(s.slots)); err != nil {
			return false, err
		}
	}
	return s.put([2]uint64{binary.BigEndian.Uint64(h[:]), binary.BigEndian.Uint64(h[8:]) | 1}), nil
}

func (s *hashSet) put(k [2]uint64) bool {
	for i := int(k[1]>>1) & (len(s.slots) - 1); ; i = (i + 1) & (len(s.slots) - 1) {
		switch s.slots[i] {
		case k:
			return false
		case [2]uint64{}:
			s.slots[i] = k
			s.used++
			return true
		}
	}
}

func (s *hashSet) free() {
	s.unmap(s.slots)
	s.slots = nil
}
