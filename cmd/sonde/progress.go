package main

import (
	"fmt"
	"io"
	"time"
)

// progress shows on a terminal how far work has come, a few times a second.
type progress struct {
	w     io.Writer // nil where nobody watches
	what  string
	begun time.Time
	last  time.Time
}

// newProgress shows work on standard error where that is a terminal.
func newProgress(s streams, what string) *progress {
	p := &progress{what: what, begun: time.Now()}
	if isTerminal(s.err) {
		p.w = s.err
	}
	return p
}

// bytes says that so many of all bytes are done.
func (p *progress) bytes(done, all int64) {
	if p.due() {
		fmt.Fprintf(p.w, "\r%s %3.0f %%, %.0f MB/s \033[K", p.what, 100*float64(done)/float64(max(1, all)), float64(done)/1e6/time.Since(p.begun).Seconds())
	}
}

// tokens says that so many of all tokens are done.
func (p *progress) tokens(done, all int) {
	if p.due() {
		fmt.Fprintf(p.w, "\r%s %d of %d tokens \033[K", p.what, done, all)
	}
}

// show shows a line of the caller's.
func (p *progress) show(line string) {
	if p.due() {
		fmt.Fprintf(p.w, "\r%s \033[K", line)
	}
}

func (p *progress) due() bool {
	const pause = 200 * time.Millisecond
	if p.w == nil || time.Since(p.last) < pause {
		return false
	}
	p.last = time.Now()
	return true
}

// end clears the line.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\033[K")
	}
}
