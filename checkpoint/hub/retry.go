package hub

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// final is an error that another try would not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// busy is an error of a server that says when to come back.
type busy struct {
	error
	after time.Duration
}

func (b busy) Unwrap() error { return b.error }

// progress is an error after which something more was there than before: the tries
// start anew.
type progress struct{ error }

func (p progress) Unwrap() error { return p.error }

// longestPause bounds what a server may ask for.
const longestPause = 5 * time.Minute

func retryAfter(res *http.Response) time.Duration {
	h := res.Header.Get("Retry-After")
	if s, err := strconv.Atoi(h); err == nil && s >= 0 {
		return min(time.Duration(s)*time.Second, longestPause)
	}
	if t, err := http.ParseTime(h); err == nil {
		return min(max(time.Until(t), 0), longestPause)
	}
	return 0
}

// again runs try until it succeeds, fails for good, or fails too often without
// progress.
func (c *Client) again(ctx context.Context, try func() error) error {
	pause := c.Pause
	for failed := 0; ; {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f := (final{}); errors.As(err, &f) {
			return f.error
		}
		failed++
		if errors.As(err, new(progress)) {
			failed, pause = 1, c.Pause
		}
		if failed > c.Retries {
			return err
		}
		wait := pause
		if b := (busy{}); errors.As(err, &b) {
			wait = max(wait, b.after)
		}
		pause = min(2*pause, longestPause)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
