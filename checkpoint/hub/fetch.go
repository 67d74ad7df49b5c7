package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// fetch fetches the missing parts of a file, several at a time. A server that knows no
// ranges gives the whole file in one go.
func (p *pull) fetch(outer context.Context, f File, d *partial) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	t := &transfer{pull: p, f: f, d: d, noted: time.Now()}
	todo := make(chan int)
	var workers sync.WaitGroup
	for range max(1, p.c.Workers) {
		workers.Go(func() {
			for i := range todo {
				if err := t.part(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range d.have {
		if from, to := d.span(i); from == to {
			continue
		}
		select {
		case todo <- i:
		case <-ctx.Done():
		}
	}
	close(todo)
	workers.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, errWhole) {
		return t.whole(outer)
	}
	return err
}

// errWhole says that the server ignores ranges.
var errWhole = errors.New("the server gives no parts of files")

var errStalled = errors.New("nothing came")

// transfer is a file on its way.
type transfer struct {
	*pull
	f File
	d *partial

	mu    sync.Mutex
	noted time.Time // when the note of parts was last written
}

// part fetches what is missing of one part.
func (t *transfer) part(ctx context.Context, i int) error {
	return t.c.again(ctx, func() error {
		from, to := t.d.span(i)
		if from == to {
			return nil
		}
		got, err := t.piece(ctx, i, from, to)
		if err == nil && got < to-from {
			err = fmt.Errorf("the connection ended %d bytes early", to-from-got)
		}
		if err != nil {
			t.note(func(s *State) { s.Waiting = err })
			if got > 0 {
				err = progress{err}
			}
		}
		return err
	})
}

// piece asks for the bytes [from, to) and writes what comes.
func (t *transfer) piece(ctx context.Context, i int, from, to int64) (got int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStalled) {
			err = fmt.Errorf("%w for %v", errStalled, t.c.Stalled)
		}
	}()
	res, err := t.c.ask(ctx, t.address(t.f), fmt.Sprintf("bytes=%d-%d", from, to-1))
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if err := t.c.status(res, t.n); err != nil {
		return 0, err
	}
	if res.StatusCode == http.StatusOK {
		if from == 0 && to == t.f.Size {
			return t.copy(res.Body, cancel, i, from, to)
		}
		return 0, final{errWhole}
	}
	var a, b, size int64
	if n, _ := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-%d/%d", &a, &b, &size); n != 3 || a != from || b != to-1 || size != t.f.Size {
		return 0, final{fmt.Errorf("%w: bytes %d-%d of %d were asked for, and the answer holds %q", ErrMismatch, from, to-1, t.f.Size, clip(res.Header.Get("Content-Range")))}
	}
	return t.copy(res.Body, cancel, i, from, to)
}

// copy writes the bytes [from, to) as they come; a body that goes on beyond is cut off.
func (t *transfer) copy(body io.Reader, cancel context.CancelCauseFunc, i int, from, to int64) (got int64, err error) {
	watch := time.AfterFunc(t.c.Stalled, func() { cancel(errStalled) })
	defer watch.Stop()
	buf := make([]byte, 256<<10)
	for from < to {
		n, rerr := body.Read(buf[:min(int64(len(buf)), to-from)])
		watch.Reset(t.c.Stalled)
		if n > 0 {
			if _, err := t.d.file.WriteAt(buf[:n], from); err != nil {
				return got, final{fullDisk(err)}
			}
			t.d.add(i, int64(n))
			from, got = from+int64(n), got+int64(n)
			t.note(func(s *State) { s.Done, s.Fresh, s.Waiting = s.Done+int64(n), s.Fresh+int64(n), nil })
		}
		if rerr == io.EOF {
			return got, nil
		}
		if rerr != nil {
			return got, rerr
		}
	}
	return got, nil
}

// note reports, and every few seconds writes down which parts are there.
func (t *transfer) note(change func(*State)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell(change)
	if time.Since(t.noted) > 5*time.Second {
		_ = t.d.save() // a note that cannot be written costs at most the bytes since the last
		t.noted = time.Now()
	}
}

// whole fetches a file from its beginning in one go.
func (t *transfer) whole(ctx context.Context) error {
	if err := t.d.file.Truncate(0); err != nil {
		return err
	}
	back := t.d.done()
	t.d.part, t.d.have = max(t.d.size, 1<<16), make([]int64, 1)
	t.note(func(s *State) { s.Done -= back })
	return t.c.again(ctx, func() error {
		t.note(func(s *State) { s.Done -= t.d.have[0] })
		t.d.have[0] = 0
		got, err := t.piece(ctx, 0, 0, t.f.Size)
		if err == nil && got < t.f.Size {
			err = fmt.Errorf("the connection ended %d bytes early", t.f.Size-got)
		}
		return err
	})
}

func fullDisk(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w: what came so far is kept, the next pull goes on from there", err)
}
