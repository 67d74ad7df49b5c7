package serve

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
)

// xColumns are what a curve can be drawn over.
var xColumns = []string{"step", "tokens", "elapsed"}

// log answers GET /api/runs/{id}/log?points=N&every=W&from=S&generation=G:
//
//	{"generation":G, "every":W, "from":S, "more":false, "skipped":0,
//	 "x":{"step":[...],"tokens":[...],"elapsed":[...]},
//	 "series":{"loss":{"mean":[...],"min":[...],"max":[...]}, ...}}
//
// Steps are grouped W by W, a power of two such that at most N points (600 where it is
// absent) remain; each x is the last of its group, elapsed being seconds without pauses,
// and where W is 1 there is mean alone. null stands where a group has no such number. A
// client that knows the groups before step S, of width W and of generation G, gets
// those from S on where they still hold, else all. more says that the file was not read
// to its end yet: ask again. skipped counts lines that could not be read.
func (s *runsServer) log(w http.ResponseWriter, r *http.Request) {
	points, err1 := intParam(r, "points", 600, 10, maxBuckets)
	every, err2 := intParam(r, "every", 0, 0, maxStep)
	from, err3 := intParam(r, "from", 1, 1, maxStep)
	known, err4 := intParam(r, "generation", 0, 0, maxStep)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			writeError(w, err)
			return
		}
	}
	l, more, err := s.fresh(r.PathValue("id"))
	if err != nil {
		writeError(w, err)
		return
	}
	defer l.mu.Unlock()
	width := l.width(points)
	if every != width || known != l.generation || (from-1)%width != 0 {
		from = 1
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(l.appendCurves(nil, width, from, more))
}

// fresh is a run's log, read up to now and locked.
func (s *runsServer) fresh(id string) (l *runLog, more bool, err error) {
	d, err := s.shelf.find(id)
	if err != nil {
		return nil, false, err
	}
	l = s.shelf.log(id)
	l.mu.Lock()
	root, err := d.open()
	if err == nil {
		defer root.Close()
		more, err = l.refresh(root)
	}
	if err != nil && !notThere(err) {
		l.mu.Unlock()
		return nil, false, fail(http.StatusInternalServerError, "server_error", "", "unreadable", "the run's log.jsonl cannot be read")
	}
	return l, more, nil
}

// width is the smallest width of a group that leaves at most so many points.
func (l *runLog) width(points int) int {
	w := l.every
	for l.step > 0 && (l.step-1)/w+1 > points {
		w *= 2
	}
	return w
}

// appendCurves writes the answer of GET /api/runs/{id}/log.
func (l *runLog) appendCurves(b []byte, width, from int, more bool) []byte {
	n := width / l.every
	begin := (from - 1) / l.every
	group := func(name string) []bucket {
		c := l.columns[name]
		return grouped(slices.Clone(c[min(begin, len(c)):]), n)
	}
	rows := present(group("step"))
	b = append(b, `{"generation":`...)
	b = strconv.AppendInt(b, int64(l.generation), 10)
	b = append(b, `,"every":`...)
	b = strconv.AppendInt(b, int64(width), 10)
	b = append(b, `,"from":`...)
	b = strconv.AppendInt(b, int64(from), 10)
	b = append(b, `,"more":`...)
	b = strconv.AppendBool(b, more)
	b = append(b, `,"skipped":`...)
	b = strconv.AppendInt(b, int64(l.skipped), 10)
	b = append(b, `,"x":{`...)
	for i, name := range xColumns {
		b = appendName(b, name, i > 0)
		b = appendNumbers(b, group(name), rows, func(k bucket) float64 { return k.last }, 15)
	}
	b = append(b, `},"series":{`...)
	for i, name := range l.seriesNames() {
		b = appendSeries(appendName(b, name, i > 0), group(name), rows, width)
	}
	return append(b, "}}\n"...)
}

// seriesNames are the columns that are drawn, in order.
func (l *runLog) seriesNames() []string {
	var names []string
	for name := range l.columns {
		if !slices.Contains(xColumns, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// present are the numbers of the buckets that hold something.
func present(c []bucket) []int {
	rows := make([]int, 0, len(c))
	for i := range c {
		if c[i].n > 0 {
			rows = append(rows, i)
		}
	}
	return rows
}

func appendName(b []byte, name string, comma bool) []byte {
	if comma {
		b = append(b, ',')
	}
	quoted, _ := json.Marshal(name) // a string always can be
	return append(append(b, quoted...), ':')
}

func appendSeries(b []byte, c []bucket, rows []int, width int) []byte {
	const digits = 6
	b = append(b, `{"mean":`...)
	b = appendNumbers(b, c, rows, func(k bucket) float64 { return k.sum / float64(k.n) }, digits)
	if width > 1 {
		b = append(b, `,"min":`...)
		b = appendNumbers(b, c, rows, func(k bucket) float64 { return k.min }, digits)
		b = append(b, `,"max":`...)
		b = appendNumbers(b, c, rows, func(k bucket) float64 { return k.max }, digits)
	}
	return append(b, '}')
}

// appendNumbers writes one number of each bucket in rows, to so many digits.
func appendNumbers(b []byte, c []bucket, rows []int, of func(bucket) float64, digits int) []byte {
	b = append(b, '[')
	for i, row := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		if row >= len(c) || c[row].n == 0 {
			b = append(b, "null"...)
			continue
		}
		b = appendNumber(b, of(c[row]), digits)
	}
	return append(b, ']')
}

// appendNumber writes v, or null where a sum has overflowed.
func appendNumber(b []byte, v float64, digits int) []byte {
	if v-v != 0 {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', digits, 64)
}

// readTail finds the newest numbers at the end of the log, without reading the rest.
func (s *runSummary) readTail(root *os.Root) {
	f, err := openRegular(root, "log.jsonl")
	if err != nil {
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return
	}
	s.Updated = float64(info.ModTime().UnixMilli()) / 1e3
	const enough = 256 << 10
	raw, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-enough), enough))
	if err != nil {
		return
	}
	const recent = 30 // lines; what is measured rarely is newest in one of them
	lines := bytes.Split(raw, []byte("\n"))
	var first, last float64 // unix seconds
	n := 0
	for _, line := range lines[max(0, len(lines)-recent):] {
		step, values, _, ok := parseLine(line)
		if !ok {
			continue
		}
		if n++; n == 1 {
			first = values["time"]
		}
		s.Step, last = step, values["time"]
		s.note(values)
	}
	if n > 1 && last > first {
		s.StepSeconds = (last - first) / float64(n-1)
	}
}

// note takes the newest numbers.
func (s *runSummary) note(values map[string]float64) {
	if s.Latest == nil {
		s.Latest = map[string]float64{}
	}
	for name, v := range values {
		if name != "time" && name != "step" && len(s.Latest) < maxColumns {
			s.Latest[name] = v
		}
	}
}
