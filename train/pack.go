package train

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// tokenWriter appends tokens to a file: two bytes each where the vocabulary allows it,
// else four, little endian.
type tokenWriter struct {
	f     *os.File
	w     *bufio.Writer
	width int
	n     int64
	raw   []byte
}

func tokenWidth(vocab int) int {
	if vocab <= math.MaxUint16+1 {
		return 2
	}
	return 4
}

func createTokens(path string, width int) (*tokenWriter, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("writing tokens: %w", err)
	}
	return &tokenWriter{f: f, w: bufio.NewWriterSize(f, 1<<18), width: width}, nil
}

func (t *tokenWriter) append(ids []int32) error {
	t.raw = t.raw[:0]
	for _, id := range ids {
		if t.width == 2 {
			t.raw = binary.LittleEndian.AppendUint16(t.raw, uint16(id))
		} else {
			t.raw = binary.LittleEndian.AppendUint32(t.raw, uint32(id))
		}
	}
	t.n += int64(len(ids))
	if _, err := t.w.Write(t.raw); err != nil {
		return fmt.Errorf("writing %s: %w", t.f.Name(), err)
	}
	return nil
}

// close makes the file durable.
func (t *tokenWriter) close() error {
	err := t.w.Flush()
	if err == nil {
		err = t.f.Sync()
	}
	if e := t.f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", t.f.Name(), err)
	}
	return nil
}

// tokenFile reads windows of a file of tokens through the system's page cache, so that
// data of any size costs no memory here and a file that is cut short in use is an
// error.
type tokenFile struct {
	f     *os.File
	width int
	vocab int32 // ids lie below it
	n     int64
	raw   []byte
}

func openTokens(path string, d *dataset, n int64) (*tokenFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading tokens: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != n*int64(d.Width) {
		err = fmt.Errorf("%s has %d bytes, expected %d: remove %s to pack the data again", path, info.Size(), n*int64(d.Width), filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &tokenFile{f: f, width: d.Width, vocab: int32(d.Vocab), n: n}, nil
}

func (t *tokenFile) close() { t.f.Close() }

// read fills dst with the tokens from position at on.
func (t *tokenFile) read(dst []int32, at int64) error {
	need := len(dst) * t.width
	if cap(t.raw) < need {
		t.raw = make([]byte, need)
	}
	raw := t.raw[:need]
	if _, err := t.f.ReadAt(raw, at*int64(t.width)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%s: tokens %d to %d: %w", t.f.Name(), at, at+int64(len(dst)), err)
	}
	for i := range dst {
		if t.width == 2 {
			dst[i] = int32(binary.LittleEndian.Uint16(raw[2*i:]))
		} else {
			dst[i] = int32(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		if uint32(dst[i]) >= uint32(t.vocab) {
			return fmt.Errorf("%s is damaged: token %d is %d, the vocabulary has %d", t.f.Name(), at+int64(i), dst[i], t.vocab)
		}
	}
	return nil
}

// sampler says which part of the training tokens a sequence of the run is. The stream
// is cut into windows of seqLen tokens, side by side; every epoch cuts it at another
// place and visits the windows in another order, both by the seed. Nothing is stored:
// the start of any sequence is a function of its number.
type sampler struct {
	windows int64 // per epoch
	seqLen  int64
	slack   int64 // tokens that the place of the first cut may move
	seed    uint64
}

// newSampler plans windows of seqLen tokens, each followed by ahead more as targets,
// over total tokens.
func newSampler(total int64, seqLen, ahead int, seed uint64) (sampler, error) {
	usable := total - int64(ahead)
	s := sampler{windows: usable / int64(seqLen), seqLen: int64(seqLen), seed: seed}
	if s.windows < 1 {
		return s, fmt.Errorf("the training side has %d tokens, fewer than one window of %d + %d: give more data or a smaller --seq-len",
			total, seqLen, ahead)
	}
	if s.windows > 1 {
		s.windows--
		s.slack = s.seqLen
	} else {
		s.slack = usable%s.seqLen + 1
	}
	return s, nil
}

// start is where sequence number i of the run begins in the stream.
func (s sampler) start(i int64) int64 {
	epoch := uint64(i / s.windows)
	key := mix(s.seed ^ mix(epoch+0x5eed))
	shift := int64(mix(key) % uint64(s.slack))
	return shift + s.seqLen*Permute(i%s.windows, s.windows, key)
}

// Permute is a bijection of [0, n) chosen by key: a Feistel network over the next even
// power of two, walked until it lands inside.
func Permute(i, n int64, key uint64) int64 {
	half := uint(1)
	for int64(1)<<(2*half) < n {
		half++
	}
	mask := uint64(1)<<half - 1
	for x := uint64(i); ; {
		l, r := x>>half, x&mask
		for round := uint64(0); round < 6; round++ {
			l, r = r, l^(mix(key+round*0x9e3779b97f4a7c15+r)&mask)
		}
		if x = l<<half | r; x < uint64(n) {
			return int64(x)
		}
	}
}

// mix is the finaliser of SplitMix64 (Steele, Lea & Flood, 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fillTargets lays out the tokens of one window for a model with depth+1 predictions:
// window holds len(tokens)+depth+1 tokens, targets[d][i] is the token d+1 places after
// tokens[i].
func fillTargets(tokens []int32, targets [][]int32, window []int32) {
	n := len(tokens)
	copy(tokens, window[:n])
	for d := range targets {
		copy(targets[d], window[d+1:d+1+n])
	}
}
