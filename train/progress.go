package train

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// quietFor is the pause between progress lines where the output is no terminal.
const quietFor = 10 * time.Second

// Progress tells a person what happens: on a terminal one live line below lasting ones,
// elsewhere a plain line now and then. It is safe for concurrent use.
type Progress struct {
	mu   sync.Mutex
	w    io.Writer
	fd   int // of the terminal, -1 where there is none
	live bool
	last time.Time
}

// NewProgress reports to w, which may be a terminal.
func NewProgress(w io.Writer) *Progress {
	p := &Progress{w: w, fd: -1}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.fd = int(f.Fd())
	}
	return p
}

func (p *Progress) width() int {
	if p.fd >= 0 {
		if w, _, err := term.GetSize(p.fd); err == nil && w > 10 {
			return w
		}
	}
	return 80
}

// Note writes a line that stays.
func (p *Progress) Note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// Show replaces the live line, or prints it where there is no terminal and the last
// one is long ago, or must is set.
func (p *Progress) Show(line string, must bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.fd < 0 {
		if must || now.Sub(p.last) >= quietFor {
			p.last = now
			fmt.Fprintln(p.w, line)
		}
		return
	}
	if !must && now.Sub(p.last) < 100*time.Millisecond {
		return
	}
	p.last = now
	if w := p.width() - 1; utf8.RuneCountInString(line) > w {
		line = string([]rune(line)[:w])
	}
	fmt.Fprintf(p.w, "\r%s\x1b[K", line)
	p.live = true
}

func (p *Progress) clear() {
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.live = false
	}
}

// share shows how much of a preparation is done.
func (p *Progress) share(what string, done, total int64) {
	if total > 0 {
		p.Show(fmt.Sprintf("%-10s %3d %%", what, 100*min(done, total)/total), false)
	}
}

// step shows the state of the training.
func (p *Progress) step(l *Line, steps int, left time.Duration) {
	var b strings.Builder
	fmt.Fprintf(&b, "step %d/%d  loss %.4f  %.3f bits/byte  %s tok/s", l.Step, steps, l.Loss, l.BPB, Thousands(l.TokensPerS))
	if l.MFU > 0 {
		fmt.Fprintf(&b, "  MFU %.0f %%", 100*l.MFU)
	}
	if l.LoadMaxMean > 0 {
		fmt.Fprintf(&b, "  load %.2f", l.LoadMaxMean)
	}
	if l.HeldoutBPB != nil {
		fmt.Fprintf(&b, "  held-out %.3f", *l.HeldoutBPB)
	}
	fmt.Fprintf(&b, "  %s left", Clock(left))
	switch {
	case p.fd < 0:
		p.Show(b.String(), l.HeldoutBPB != nil || l.Step == 1 || l.Step == steps)
	case l.HeldoutBPB != nil:
		p.Note("%s", b.String())
	default:
		p.Show(fitted(b.String(), p.width()-1), l.Step == 1 || l.Step == steps)
	}
}

// fitted writes a line that is too wide for the terminal more tightly: what would be
// cut off is the time left.
func fitted(line string, width int) string {
	if utf8.RuneCountInString(line) > width {
		line = strings.NewReplacer("  ", " ", " %", "%", " bits/byte", " bpb").Replace(line)
	}
	return line
}

// Keep turns the live line into a lasting one.
func (p *Progress) Keep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprintln(p.w)
		p.live = false
	}
}

// Text shows what a model wrote, indented under a title and without control characters,
// so that no model can steer a terminal.
func (p *Progress) Text(title, text string) {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0:
			return -1
		}
		return r
	}, text)
	p.Note("%s\n  | %s", title, strings.ReplaceAll(strings.TrimRight(clean, "\n"), "\n", "\n  | "))
}

// Thousands shows a rate in three figures.
func Thousands(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}

// Clock shows a duration in its two largest units.
func Clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	switch {
	case s >= 86400:
		return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
	case s >= 3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	case s >= 60:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	}
	return fmt.Sprintf("%ds", s)
}
