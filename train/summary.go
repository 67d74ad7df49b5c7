package train

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Summary is the outcome of a finished run, as summary.json holds it.
type Summary struct {
	Steps      int     `json:"steps"`
	Tokens     int64   `json:"tokens"`
	Seconds    float64 `json:"seconds"`     // of training, evaluation included, over all its sessions
	HeldoutBPB float64 `json:"heldout_bpb"` // bits per byte of the held-out text
	GzipBPB    float64 `json:"gzip_bpb"`    // what gzip -9 needs for the same bytes as one stream
	// LoadMaxMean is the busiest expert's share of the tokens over the mean, on the
	// held-out text, in the layer where it is largest.
	LoadMaxMean float64 `json:"load_max_mean"`
}

// SummaryPath is where a finished run keeps its outcome.
func SummaryPath(run string) string { return filepath.Join(run, "summary.json") }

// ReadSummary reads the outcome of a finished run, nil where there is none that can be read.
func ReadSummary[S any](run string) *S {
	raw, err := os.ReadFile(SummaryPath(run))
	s := new(S)
	if err != nil || json.Unmarshal(raw, s) != nil {
		return nil
	}
	return s
}

// countWriter counts what is written to it.
type countWriter int64

func (c *countWriter) Write(b []byte) (int, error) {
	*c += countWriter(len(b))
	return len(b), nil
}

// gzipBPB is the bits per byte that gzip needs at level 9 for a file.
func gzipBPB(name string) (float64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, fmt.Errorf("the held-out text: %w", err)
	}
	defer f.Close()
	var out countWriter
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(z, f)
	if err == nil {
		err = z.Close()
	}
	if err != nil || n == 0 {
		return 0, fmt.Errorf("the held-out text %s: %d bytes, %w", name, n, err)
	}
	return 8 * float64(out) / float64(n), nil
}

// CurvePoint is one place of a curve.
type CurvePoint struct {
	Step int
	Y    float64
}

// mergePoints averages a curve into at most n places.
func mergePoints(points []CurvePoint, n int) []CurvePoint {
	if len(points) <= n {
		return points
	}
	out := make([]CurvePoint, 0, n)
	for i := range n {
		from, to := i*len(points)/n, (i+1)*len(points)/n
		sum := 0.0
		for _, p := range points[from:to] {
			sum += p.Y
		}
		out = append(out, CurvePoint{points[(from+to)/2].Step, sum / float64(to-from)})
	}
	return out
}

// DrawCurve draws curves over the steps 1..steps in dots of braille, two by four to a
// character, with a dashed line at mark (0: none).
func DrawCurve(curve, heldout []CurvePoint, mark float64, steps, width, height int) string {
	cols, rows := max(width-8, 10), max(height, 3)
	lo, hi := bounds(curve, heldout, mark)
	cells := make([][]rune, rows)
	for i := range cells {
		cells[i] = []rune(strings.Repeat(" ", cols))
	}
	place := func(p CurvePoint) (x, y int) {
		x = int(float64(p.Step-1) / float64(max(steps-1, 1)) * float64(2*cols-1))
		y = int(math.Round((hi - p.Y) / (hi - lo) * float64(4*rows-1)))
		return min(max(x, 0), 2*cols-1), min(max(y, 0), 4*rows-1)
	}
	if mark > 0 {
		_, y := place(CurvePoint{1, mark})
		cells[y/4] = []rune(strings.Repeat("╌", cols))
	}
	dots := [4][2]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}}
	for _, p := range mergePoints(curve, 2*cols) {
		x, y := place(p)
		c := &cells[y/4][x/2]
		if *c < 0x2800 || *c > 0x28ff {
			*c = 0x2800
		}
		*c |= dots[y%4][x%2]
	}
	for _, p := range heldout {
		x, y := place(p)
		cells[y/4][x/2] = '●'
	}
	return frame(cells, lo, hi, steps)
}

func bounds(curve, heldout []CurvePoint, mark float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, p := range append(append([]CurvePoint{{1, mark}}, heldout...), mergePoints(curve, 200)...) {
		if p.Y > 0 {
			lo, hi = min(lo, p.Y), max(hi, p.Y)
		}
	}
	if !(hi > lo) {
		lo, hi = lo-0.5, lo+0.5
	}
	return lo, hi
}

func frame(cells [][]rune, lo, hi float64, steps int) string {
	var b strings.Builder
	for i, row := range cells {
		y := hi - (hi-lo)*(float64(i)+0.5)/float64(len(cells))
		fmt.Fprintf(&b, "%6.2f ┤%s\n", y, strings.TrimRight(string(row), " "))
	}
	last := fmt.Sprintf("step %d", steps)
	fmt.Fprintf(&b, "       └%s\n", strings.Repeat("─", len(cells[0])))
	fmt.Fprintf(&b, "        1%s\n", fmt.Sprintf("%*s", len(cells[0])-1, last))
	return b.String()
}

// report shows how the run went and what to type next.
func (p *Progress) report(s *Summary, run string, curve, heldout []CurvePoint) {
	p.Note("\nbits per byte while training (dots), of the held-out text (●), and of gzip -9 (╌)")
	p.Note("%s", DrawCurve(curve, heldout, s.GzipBPB, s.Steps, min(p.width(), 100), 12))
	p.Note("%d steps, %d tokens in %s", s.Steps, s.Tokens, Clock(time.Duration(s.Seconds*float64(time.Second))))
	verdict := "more than"
	if s.HeldoutBPB < s.GzipBPB {
		verdict = "fewer than"
	}
	p.Note("held-out   %.4f bits per byte, %s gzip -9 needs for the same bytes (%.4f)", s.HeldoutBPB, verdict, s.GzipBPB)
	if s.LoadMaxMean > 0 {
		p.Note("experts    the busiest has %.2f times the mean load", s.LoadMaxMean)
	}
	p.Note("model      %s", run)
	p.Note("\nWhat to type next:\n  sonde run %s \"your text\"\n  sonde chat %s\n  sonde serve %s", ShellQuote(run), ShellQuote(run), ShellQuote(run))
}

// ShellQuote makes a path safe to paste.
func ShellQuote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r == '/' || r == '.' || r == '-' || r == '_' || r == ':' || r == '\\' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
