package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"sonde/text"
)

// packed is the three files that tokenise writes.
type packed struct {
	train, heldout *tokenWriter
	text           *os.File
}

func createPacked(dir string, width int) (*packed, error) {
	p := &packed{}
	var err error
	if p.train, err = createTokens(filepath.Join(dir, trainTokensFile), width); err != nil {
		return nil, err
	}
	if p.heldout, err = createTokens(filepath.Join(dir, heldoutTokensFile), width); err == nil {
		p.text, err = os.Create(filepath.Join(dir, heldoutTextFile))
	}
	if err != nil {
		p.abandon()
		return nil, fmt.Errorf("writing tokens: %w", err)
	}
	return p, nil
}

func (p *packed) add(j *job) error {
	if !j.held {
		return p.train.append(j.ids)
	}
	if _, err := p.text.Write(j.text); err != nil {
		return fmt.Errorf("writing the held-out text: %w", err)
	}
	return p.heldout.append(j.ids)
}

func (p *packed) close() error {
	err := errors.Join(p.train.close(), p.heldout.close(), p.text.Sync(), p.text.Close())
	if err != nil {
		return fmt.Errorf("writing the packed data: %w", err)
	}
	return nil
}

// abandon closes what is open; after close it does nothing.
func (p *packed) abandon() {
	for _, w := range []*tokenWriter{p.train, p.heldout} {
		if w != nil {
			w.f.Close()
		}
	}
	if p.text != nil {
		p.text.Close()
	}
}

// job is one document on its way through the pipeline.
type job struct {
	text  []byte
	held  bool
	ids   []int32
	slots int
	ready chan struct{}
	err   error
}

// pipeline reads documents in order, encodes them on several threads, and hands them
// on in order. The text in flight is bounded.
type pipeline struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	tok     *text.Tokenizer
	work    chan *job
	ordered chan *job
	slots   chan struct{} // one for each slotBytes in flight
	free    chan *job
	workers sync.WaitGroup
	readErr error
	counts  Counts
}

const (
	slotBytes  = 64 << 10
	totalSlots = 32 // 2 MiB of text in flight
)

func newPipeline(ctx context.Context, tok *text.Tokenizer, threads int) *pipeline {
	p := &pipeline{tok: tok, work: make(chan *job, totalSlots), ordered: make(chan *job, totalSlots),
		slots: make(chan struct{}, totalSlots), free: make(chan *job, totalSlots)}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	for range max(threads, 1) {
		p.workers.Go(p.encode)
	}
	return p
}

// read feeds the pipeline; it runs in a goroutine of its own.
func (p *pipeline) read(c *corpus) {
	defer close(p.ordered)
	defer close(p.work)
	defer func() {
		if r := recover(); r != nil {
			p.readErr = fmt.Errorf("reading the data: %v", r)
		}
	}()
	p.readErr = c.each(&p.counts, func(d *document) error {
		j := p.next(min(1+len(d.text)/slotBytes, totalSlots))
		if j == nil {
			return context.Cause(p.ctx)
		}
		j.text, j.held, j.err = append(j.text[:0], d.text...), c.held(d), nil
		p.work <- j
		p.ordered <- j
		return nil
	})
}

// next waits for room for a job; nil when the pipeline was stopped.
func (p *pipeline) next(slots int) *job {
	for range slots {
		select {
		case p.slots <- struct{}{}:
		case <-p.ctx.Done():
			return nil
		}
	}
	select {
	case j := <-p.free:
		j.slots = slots
		return j
	default:
		return &job{slots: slots, ready: make(chan struct{}, 1)}
	}
}

func (p *pipeline) encode() {
	for j := range p.work {
		p.encodeOne(j)
		j.ready <- struct{}{}
	}
}

func (p *pipeline) encodeOne(j *job) {
	defer func() {
		if r := recover(); r != nil {
			j.err = fmt.Errorf("encoding a document: %v", r)
		}
	}()
	j.ids = append(j.ids[:0], p.tok.BOS())
	if len(j.text) > 0 {
		j.ids = p.tok.AppendEncode(j.ids, unsafe.String(&j.text[0], len(j.text))) // the ids keep nothing of it
	}
	j.ids = append(j.ids, p.tok.EOS())
}

func (p *pipeline) recycle(j *job) {
	for range j.slots {
		<-p.slots
	}
	if j.slots > 1 {
		return // a long document's buffers are not kept
	}
	select {
	case p.free <- j:
	default:
	}
}

func (p *pipeline) stop(err error) { p.cancel(err) }

// wait ends the pipeline and returns its first error.
func (p *pipeline) wait() error {
	stopped := context.Cause(p.ctx)
	p.cancel(nil)
	for j := range p.ordered { // what was in flight when it was stopped
		<-j.ready
	}
	p.workers.Wait()
	if stopped != nil {
		return stopped
	}
	return p.readErr
}
