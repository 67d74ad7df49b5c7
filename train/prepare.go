package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"sonde/text"
)

// dataset describes the packed data in a run's folder; it is written last, as
// data/data.json, and makes the preparation valid.
type dataset struct {
	Format        int    `json:"format"`
	Hash          string `json:"hash"` // of the documents and the place of the split
	Vocab         int    `json:"vocab"`
	Width         int    `json:"bytes_per_token"`
	TrainTokens   int64  `json:"train_tokens"`
	HeldoutTokens int64  `json:"heldout_tokens"`
	Counts        Counts `json:"counts"`
}

const dataFormat = 1

const (
	trainTokensFile   = "train.tokens"
	heldoutTokensFile = "heldout.tokens"
	heldoutTextFile   = "heldout.txt"
)

// tokenizerBytes is how much text of the training side, a sample by hash, trains the
// tokenizer, for each token of its vocabulary: more changes few merges, and costs time
// and memory.
const tokenizerBytes = 1536

func dataDir(run string) string { return filepath.Join(run, "data") }

// bytesPerToken of the training side, document marks included.
func (d *dataset) bytesPerToken() float64 {
	return float64(d.Counts.TrainBytes) / float64(max(d.TrainTokens, 1))
}

func readDataset(run string) (*dataset, error) {
	name := filepath.Join(dataDir(run), "data.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	d := &dataset{}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", name, err)
	}
	if d.Format != dataFormat {
		return nil, fmt.Errorf("%s has format %d, this program knows %d", name, d.Format, dataFormat)
	}
	return d, nil
}

// prepare finds, splits and tokenises the data of a run unless that is done already,
// and returns the dataset with its tokenizer.
func prepare(ctx context.Context, o *Options, p *Progress) (*dataset, *text.Tokenizer, error) {
	if d, err := readDataset(o.Out); err == nil {
		tok, err := readTokenizer(o.Out)
		return d, tok, err
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	if err := os.MkdirAll(dataDir(o.Out), 0o777); err != nil {
		return nil, nil, fmt.Errorf("the run's folder: %w", err)
	}
	c := &corpus{field: o.TextField, piece: o.Piece}
	var err error
	if c.sources, err = findSources(o.Data, o.Out, &c.counts); err != nil {
		return nil, nil, err
	}
	if err := c.scan(*o.Heldout, o.HeldoutBytes); err != nil {
		return nil, nil, err
	}
	p.Note("data       %v", c.counts)
	p.Note("split      %s to learn from, %s held out", size(c.counts.TrainBytes), size(c.counts.HeldoutBytes))
	tok, err := tokenizerFor(ctx, o, c, p)
	if err != nil {
		return nil, nil, err
	}
	d, err := tokenise(ctx, o.Out, c, tok, o.threads(), p)
	debug.FreeOSMemory()
	return d, tok, err
}

func readTokenizer(run string) (*text.Tokenizer, error) {
	name := filepath.Join(run, "tokenizer.json")
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("the run's tokenizer: %w", err)
	}
	tok, err := text.LoadTokenizer(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return tok, nil
}

// tokenizerFor trains the tokenizer, or takes the one in the folder when it was made
// from the same documents for the same size of vocabulary.
func tokenizerFor(ctx context.Context, o *Options, c *corpus, p *Progress) (*text.Tokenizer, error) {
	key := fmt.Sprintf("%s %d\n", c.hash, o.Vocab)
	keyFile := filepath.Join(dataDir(o.Out), "tokenizer.key")
	if raw, err := os.ReadFile(keyFile); err == nil && string(raw) == key {
		return readTokenizer(o.Out)
	}
	sample := tokenizerBytes * int64(o.Vocab)
	c.sample = uint32(buckets * min(1, float64(sample)/float64(c.counts.TrainBytes)))
	var failed error
	docs := func(yield func([]byte) bool) {
		var counts Counts
		failed = c.each(&counts, func(d *document) error {
			if c.forTokenizer(d) && !yield(d.text) {
				return errStop
			}
			return nil
		})
	}
	toRead := min(c.counts.TrainBytes, sample)
	tok, err := text.TrainBPE(ctx, docs, text.TrainOptions{VocabSize: o.Vocab, Threads: o.threads(),
		Warn: func(m string) { p.Note("tokenizer  %s", m) },
		Progress: func(done, total int64) {
			if total == 0 {
				p.share("words", done, toRead)
			} else {
				p.share("tokenizer", done, total)
			}
		}})
	if failed != nil && !errors.Is(failed, errStop) {
		return nil, failed
	}
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	raw, err := tok.JSON()
	if err != nil {
		return nil, fmt.Errorf("training the tokenizer: %w", err)
	}
	if err := WriteFile(filepath.Join(o.Out, "tokenizer.json"), raw); err != nil {
		return nil, err
	}
	p.Note("tokenizer  %d tokens, learned from the training side alone", tok.VocabSize())
	return tok, WriteFile(keyFile, []byte(key))
}

// errStop ends an iteration early; it is no failure.
var errStop = errors.New("stop")

// tokenise writes both sides' tokens and the held-out text, then data.json.
func tokenise(ctx context.Context, run string, c *corpus, tok *text.Tokenizer, threads int, p *Progress) (*dataset, error) {
	d := &dataset{Format: dataFormat, Hash: c.hash, Vocab: tok.VocabSize(), Width: tokenWidth(tok.VocabSize()), Counts: c.counts}
	dir := dataDir(run)
	out, err := createPacked(dir, d.Width)
	if err != nil {
		return nil, err
	}
	defer out.abandon()
	pipe := newPipeline(ctx, tok, threads)
	go pipe.read(c)
	var done int64
	for job := range pipe.ordered {
		<-job.ready
		if job.err == nil {
			job.err = out.add(job)
		}
		if job.err != nil {
			pipe.stop(job.err)
			break
		}
		done += int64(len(job.text))
		p.share("tokens", done, c.counts.Bytes)
		pipe.recycle(job)
	}
	if err := pipe.wait(); err != nil {
		return nil, err
	}
	if got := pipe.counts; got.Documents != c.counts.Documents || got.Bytes != c.counts.Bytes {
		return nil, fmt.Errorf("the data changed while it was read (%d documents, then %d): start again", c.counts.Documents, got.Documents)
	}
	if err := out.close(); err != nil {
		return nil, err
	}
	d.TrainTokens, d.HeldoutTokens = out.train.n, out.heldout.n
	p.Note("tokens     %d to learn from (%.2f bytes each), %d held out", d.TrainTokens, d.bytesPerToken(), d.HeldoutTokens)
	return d, WriteJSON(filepath.Join(dir, "data.json"), d)
}
