package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"sync"
)

// Bounds on what is kept of a log, whatever its size.
const (
	maxBuckets = 4096
	maxColumns = 64
	maxName    = 64      // bytes of a column's name
	maxLine    = 1 << 20 // bytes of a line
	maxStep    = 1 << 40
	readAtOnce = 32 << 20 // bytes of log that one request reads
)

// bucket is what is kept of one column over some steps.
type bucket struct {
	min, max, sum, last float64
	n                   int32
}

func (b *bucket) add(v float64) { b.merge(bucket{v, v, v, v, 1}) }

// merge adds what came after b.
func (b *bucket) merge(o bucket) {
	switch {
	case o.n == 0:
	case b.n == 0:
		*b = o
	default:
		*b = bucket{min(b.min, o.min), max(b.max, o.max), b.sum + o.sum, o.last, b.n + o.n}
	}
}

// runLog is a log.jsonl in memory that does not grow with the file: at most maxBuckets
// buckets of every steps each, where every doubles whenever they are full.
type runLog struct {
	mu sync.Mutex
	logState
}

// logState is what a runLog guards.
type logState struct {
	offset     int64  // of the first byte not yet read
	tail       []byte // what stands before offset, to see that it still does
	skipping   bool   // within a line that is too long
	generation int    // how often the file turned out to be another
	skipped    int    // lines that could not be read

	every   int // steps a bucket, a power of 2
	step    int // of the last line
	columns map[string][]bucket
	loads   loadMap

	time, elapsed float64 // of the last line
	tokens        float64
	lines         int
}

func newRunLog() *runLog {
	l := &runLog{}
	l.reset()
	return l
}

// reset forgets everything but the generation, which it counts.
func (l *runLog) reset() {
	l.logState = logState{generation: l.generation + 1, every: 1, columns: map[string][]bucket{}}
}

// refresh reads what the file holds beyond what was read before, or all of it where it
// was cut or rewritten since. more says that it stopped early, to answer in time.
func (l *runLog) refresh(root *os.Root) (more bool, err error) {
	f, err := openRegular(root, "log.jsonl")
	if notThere(err) {
		if l.offset > 0 {
			l.reset()
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if !l.continues(f) {
		l.reset()
	}
	return l.read(f)
}

// continues reports whether what was read still stands in the file.
func (l *runLog) continues(f *os.File) bool {
	got := make([]byte, len(l.tail))
	_, err := f.ReadAt(got, l.offset-int64(len(got)))
	return (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(got, l.tail)
}

// read takes whole lines from offset on.
func (l *runLog) read(f *os.File) (more bool, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(f, l.offset, readAtOnce), 64<<10)
	begin := l.offset
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if l.skipping {
			l.advance(part)
			l.skipping = err != nil
		} else {
			line = append(line, part...)
		}
		switch {
		case err == nil && len(line) > 0:
			l.add(line)
			l.advance(line)
			line = line[:0]
		case len(line) > maxLine:
			l.skipped++
			l.advance(line)
			l.skipping, line = err != nil, line[:0]
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return l.offset-begin+int64(len(line)) >= readAtOnce, err
		}
	}
}

// advance says that part was dealt with.
func (l *runLog) advance(part []byte) {
	const keep = 64
	l.offset += int64(len(part))
	l.tail = append(l.tail, part...)
	l.tail = append(l.tail[:0], l.tail[max(0, len(l.tail)-keep):]...)
}

// add takes one line into the buckets; one that is not a step is counted and left.
func (l *runLog) add(raw []byte) {
	if len(raw) > maxLine {
		l.skipped++
		return
	}
	step, values, loads, ok := parseLine(raw)
	if !ok {
		if len(bytes.TrimSpace(raw)) > 0 {
			l.skipped++
		}
		return
	}
	if step <= l.step {
		l.rewind(step)
	}
	l.derive(values)
	for (step-1)/l.every >= maxBuckets {
		l.halve()
	}
	for name, v := range values {
		l.put(name, (step-1)/l.every, v)
	}
	l.loads.add(step, loads)
	l.step = step
	l.lines++
}

// parseLine is the step of a line, its numbers, and its counts of tokens per layer and
// expert where it has any.
func parseLine(raw []byte) (step int, values map[string]float64, loads [][]float32, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return 0, nil, nil, false
	}
	values = make(map[string]float64, len(fields))
	for name, text := range fields {
		if name == "loads" {
			_ = json.Unmarshal(text, &loads) // what has another form is not shown
			continue
		}
		var v float64
		if len(name) <= maxName && isNumber(text) && json.Unmarshal(text, &v) == nil {
			values[name] = v
		}
	}
	s := values["step"]
	return int(s), values, loads, s >= 1 && s < maxStep && s == math.Trunc(s)
}

func isNumber(text json.RawMessage) bool {
	return len(text) > 0 && (text[0] == '-' || text[0] >= '0' && text[0] <= '9')
}

// derive adds "elapsed", the seconds since the run began without the pauses between two
// processes, where the log has what it follows from.
func (l *runLog) derive(values map[string]float64) {
	const pause = 600
	d := 0.0
	if t, ok := values["time"]; ok {
		if l.time > 0 {
			d = max(0, t-l.time)
		}
		if mean := l.elapsed / float64(max(l.lines, 1)); d > pause && d > 20*mean {
			d = mean
		}
		l.time = t
	} else if speed := values["tokens_per_s"]; speed > 0 {
		d = max(0, values["tokens"]-l.tokens) / speed
	} else {
		return
	}
	l.tokens = values["tokens"]
	l.elapsed += d
	values["elapsed"] = l.elapsed
	delete(values, "time")
}

// put adds a value to a column.
func (l *runLog) put(name string, at int, v float64) {
	c, ok := l.columns[name]
	if !ok && len(l.columns) >= maxColumns {
		return
	}
	for len(c) <= at {
		c = append(c, bucket{})
	}
	c[at].add(v)
	l.columns[name] = c
}

// halve doubles the steps of a bucket.
func (l *runLog) halve() {
	l.every *= 2
	for name, c := range l.columns {
		l.columns[name] = grouped(c, 2)
	}
}

// grouped merges every n neighbours, in place.
func grouped(c []bucket, n int) []bucket {
	for i := range (len(c) + n - 1) / n {
		var b bucket
		for _, o := range c[i*n : min((i+1)*n, len(c))] {
			b.merge(o)
		}
		c[i] = b
	}
	return c[:(len(c)+n-1)/n]
}

// rewind forgets what was logged from step on: a run that went on from a checkpoint
// says it again.
func (l *runLog) rewind(step int) {
	at := (step - 1) / l.every
	for name, c := range l.columns {
		l.columns[name] = c[:min(at, len(c))]
	}
	l.loads.rewind(step)
	l.generation++
}
