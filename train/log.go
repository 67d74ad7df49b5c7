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
)

// Line is one step as log.jsonl holds it.
type Line struct {
	Step        int      `json:"step"`   // from 1
	Tokens      int64    `json:"tokens"` // learned from so far
	Loss        float64  `json:"loss"`   // nats per token, every digit
	MTPLoss     float64  `json:"mtp_loss"`
	LR          float64  `json:"lr"`
	GradNorm    float64  `json:"grad_norm"`     // before clipping
	LoadMaxMean float64  `json:"load_max_mean"` // of the layer with the worst balance
	TokensPerS  float64  `json:"tokens_per_s"`
	MFU         float64  `json:"mfu"` // share of the machine's peak, 0 where that is unknown
	HeldoutBPB  *float64 `json:"heldout_bpb,omitempty"`
}

// stepLog appends to log.jsonl.
type stepLog struct {
	f    *os.File
	line Line  // the last one
	at   int64 // where it begins
	end  int64
}

func logPath(run string) string { return filepath.Join(run, "log.jsonl") }

// openLog opens the log and cuts it after step, so that every step stands in it once.
// The lines kept are shown to each.
func openLog(run string, step int, each func(Line)) (*stepLog, error) {
	f, err := os.OpenFile(logPath(run), os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("the run's log: %w", err)
	}
	l := &stepLog{f: f}
	err = l.readLines(f, step, each)
	if err == nil && l.line.Step < step {
		err = fmt.Errorf("%s holds %d of the %d steps before the checkpoint: restore it, or begin another run", f.Name(), l.line.Step, step)
	}
	if err == nil {
		err = f.Truncate(l.end)
	}
	if err == nil {
		_, err = f.Seek(l.end, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("the run's log: %w", err)
	}
	return l, nil
}

// readLines reads whole lines up to a step.
func (l *stepLog) readLines(r io.Reader, step int, each func(Line)) error {
	in := bufio.NewReader(r)
	for {
		raw, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var line Line
		if json.Unmarshal(bytes.TrimSpace(raw), &line) != nil || line.Step != l.line.Step+1 || line.Step > step {
			return nil
		}
		l.line, l.at, l.end = line, l.end, l.end+int64(len(raw))
		each(line)
	}
}

// ReadLog returns the lines of a run's log.jsonl.
func ReadLog(run string) ([]Line, error) {
	f, err := os.Open(logPath(run))
	if err != nil {
		return nil, fmt.Errorf("the run's log: %w", err)
	}
	defer f.Close()
	var lines []Line
	err = (&stepLog{}).readLines(f, maxSteps, func(l Line) { lines = append(lines, l) })
	return lines, err
}

func (l *stepLog) add(line *Line) error {
	raw, err := json.Marshal(line)
	if err == nil {
		_, err = l.f.Write(append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	l.line, l.at, l.end = *line, l.end, l.end+int64(len(raw))+1
	return nil
}

// amend writes the last line again with what the final evaluation found, in one write
// that makes it no shorter, so that a kill leaves the old line or the new one.
func (l *stepLog) amend(heldoutBPB float64) error {
	l.line.HeldoutBPB = &heldoutBPB
	raw, err := json.Marshal(l.line)
	if err == nil {
		_, err = l.f.WriteAt(append(raw, '\n'), l.at)
	}
	if err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	l.end = l.at + int64(len(raw)) + 1
	return l.sync()
}

// sync makes the lines durable; a checkpoint must not be newer than its log.
func (l *stepLog) sync() error {
	if err := l.f.Sync(); err != nil {
		return fmt.Errorf("writing the run's log: %w", err)
	}
	return nil
}

func (l *stepLog) close() { l.f.Close() }

// writeFile replaces a file as a whole: temporary, sync, rename.
func writeFile(name string, raw []byte) error {
	tmp := name + ".sonde-tmp" // cleared away with the run's other leftovers
	f, err := os.Create(tmp)
	if err == nil {
		_, err = f.Write(raw)
		if err == nil {
			err = f.Sync()
		}
		if e := f.Close(); err == nil {
			err = e
		}
		if err == nil {
			err = os.Rename(tmp, name)
		}
	}
	if err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

func writeJSON(name string, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return writeFile(name, append(raw, '\n'))
}
