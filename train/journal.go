package train

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Journal keeps what a run says of itself, step by step, in the run's folder: log.jsonl,
// a TensorBoard event file with the same numbers, and where it writes texts to learn from
// them, rollouts/00000012.jsonl. A checkpoint must not be newer than its journal: call
// Sync before one is saved.
type Journal struct {
	folder string
	f      *os.File
	events *events
	last   Record
	at     int64 // where its line begins
	end    int64
}

func logPath(run string) string { return filepath.Join(run, "log.jsonl") }

// OpenJournal opens the journal of the run in folder and cuts it after step, the one of
// the checkpoint that the run goes on from (0: none), so that every step stands in it
// once. The lines kept are shown to each, which may be nil.
func OpenJournal(folder string, step int, each func(Record)) (*Journal, error) {
	j, err := openLog(folder, step, each)
	if err != nil {
		return nil, err
	}
	if err = cutRollouts(folder, step); err == nil {
		j.events, err = createEvents(folder, step)
	}
	if err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

// openLog opens and cuts log.jsonl.
func openLog(folder string, step int, each func(Record)) (*Journal, error) {
	f, err := os.OpenFile(logPath(folder), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("the run's log: %w", err)
	}
	j := &Journal{folder: folder, f: f}
	err = j.readLines(f, step, each)
	if err == nil && j.last.Step < step {
		err = fmt.Errorf("%s holds %d of the %d steps before the checkpoint: restore it, or begin another run", f.Name(), j.last.Step, step)
	}
	if err == nil {
		err = f.Truncate(j.end)
	}
	if err == nil {
		_, err = f.Seek(j.end, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the run's log: %w", err)
	}
	return j, nil
}

// readLines reads whole lines up to a step.
func (j *Journal) readLines(r io.Reader, step int, each func(Record)) error {
	in := bufio.NewReader(r)
	for {
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var rec Record
		if json.Unmarshal(bytes.TrimSpace(raw), &rec) != nil || rec.Step != j.last.Step+1 || rec.Step > step {
			return nil
		}
		j.last, j.at, j.end = rec, j.end, j.end+int64(len(raw))
		if each != nil {
			each(rec)
		}
	}
}

// ReadJournal returns the steps of a run, also of one that is still going on.
func ReadJournal(folder string) ([]Record, error) {
	f, err := os.Open(logPath(folder))
	if err != nil {
		return nil, fmt.Errorf("the run's log: %w", err)
	}
	defer f.Close()
	var steps []Record
	err = (&Journal{}).readLines(f, maxSteps, func(r Record) { steps = append(steps, r) })
	return steps, err
}

// Add writes the next step, whose number follows the last one's.
func (j *Journal) Add(r Record) error {
	if r.Step != j.last.Step+1 {
		return fmt.Errorf("the run's log: step %d after step %d", r.Step, j.last.Step)
	}
	if r.Time == 0 {
		r.Time = float64(time.Now().UnixMilli()) / 1e3
	}
	raw, err := json.Marshal(r)
	if err == nil {
		_, err = j.f.Write(append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	j.last, j.at, j.end = r, j.end, j.end+int64(len(raw))+1
	return j.events.numbers(r.Step, r.Numbers)
}

// Amend adds numbers to the last step, such as what a final evaluation found. The line is
// written again in one write that makes it no shorter, so that a kill leaves the old line
// or the new one.
func (j *Journal) Amend(numbers ...Number) error {
	for _, n := range numbers {
		j.last.Set(n.Name, n.Value)
	}
	raw, err := json.Marshal(j.last)
	if err == nil {
		if short := int(j.end-j.at) - 1 - len(raw); short > 0 {
			raw = append(raw, bytes.Repeat([]byte{' '}, short)...)
		}
		_, err = j.f.WriteAt(append(raw, '\n'), j.at)
	}
	if err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	j.end = j.at + int64(len(raw)) + 1
	if err := j.Sync(); err != nil {
		return err
	}
	if _, err := j.f.Seek(j.end, io.SeekStart); err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	return j.events.numbers(j.last.Step, numbers)
}

// Sync makes the lines durable.
func (j *Journal) Sync() error {
	if err := j.f.Sync(); err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	return nil
}

// Close closes the files.
func (j *Journal) Close() {
	j.f.Close()
	if j.events != nil {
		j.events.close()
	}
}
