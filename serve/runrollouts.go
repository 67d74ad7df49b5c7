package serve

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on an answer with rollouts.
const (
	maxSteps       = 200_000
	maxSamples     = 4096
	rolloutBytes   = 8 << 20 // of the file, in one answer
	maxRolloutLine = 4 << 20
	maxField       = 64 << 10 // bytes of one text
)

// rolloutSteps answers GET /api/runs/{id}/rollouts: {"steps":[1,2,...]}, ascending.
func (s *runsServer) rolloutSteps(w http.ResponseWriter, r *http.Request) {
	d, err := s.shelf.find(r.PathValue("id"))
	if err != nil {
		writeError(w, err)
		return
	}
	steps := []int{}
	if root, err := d.open(); err == nil {
		defer root.Close()
		steps = append(steps, stepsIn(root)...)
	}
	writeJSON(w, http.StatusOK, map[string]any{"steps": steps})
}

// stepsIn are the steps with a file in rollouts/.
func stepsIn(root *os.Root) []int {
	f, err := root.Open("rollouts")
	if err != nil {
		return nil
	}
	defer f.Close()
	names, err := f.Readdirnames(maxSteps)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	var steps []int
	for _, name := range names {
		number, ok := strings.CutSuffix(name, ".jsonl")
		step, err := strconv.Atoi(number)
		if ok && err == nil && step >= 0 && rolloutName(step) == name {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps
}

func rolloutName(step int) string { return fmt.Sprintf("%08d.jsonl", step) }

// sample is one line of a rollouts file. Texts are cut at maxField.
type sample struct {
	Group     int             `json:"group"`
	Sample    int             `json:"sample"`
	Task      string          `json:"task"`
	Prompt    string          `json:"prompt"`
	Text      string          `json:"text"`
	Thought   string          `json:"thought"`
	Answer    string          `json:"answer"`
	Reference json.RawMessage `json:"reference,omitempty"`
	Right     bool            `json:"right"`
	Score     *float64        `json:"score,omitempty"`
	Reward    *float64        `json:"reward,omitempty"`
	Advantage *float64        `json:"advantage,omitempty"`
	Length    int             `json:"length"`
	Finish    string          `json:"finish"`
	Verdict   json.RawMessage `json:"verdict,omitempty"`
	Cut       bool            `json:"cut,omitempty"` // a text is longer than what is shown
}

// rollouts answers GET /api/runs/{id}/rollouts/{step}?at=BYTE:
//
//	{"step":12, "samples":[{...}], "skipped":0, "next":0}
//
// with the lines of the file as they are, texts cut at 64 KiB ("cut":true). A step with
// more than fits an answer gives the byte to go on from as next, else 0; skipped counts
// lines that are no sample.
func (s *runsServer) rollouts(w http.ResponseWriter, r *http.Request) {
	step, err := strconv.Atoi(r.PathValue("step"))
	if err != nil || step < 0 {
		writeError(w, invalid("step", "the step must be a number, not %s", quoteShort(r.PathValue("step"))))
		return
	}
	at, err := intParam(r, "at", 0, 0, 1<<50)
	if err != nil {
		writeError(w, err)
		return
	}
	d, err := s.shelf.find(r.PathValue("id"))
	if err != nil {
		writeError(w, err)
		return
	}
	root, err := d.open()
	if err != nil {
		writeError(w, noRollouts(step))
		return
	}
	defer root.Close()
	f, err := openRegular(root, "rollouts/"+rolloutName(step))
	if err != nil {
		writeError(w, noRollouts(step))
		return
	}
	defer f.Close()
	out := struct {
		Step    int      `json:"step"`
		Samples []sample `json:"samples"`
		Skipped int      `json:"skipped"`
		Next    int64    `json:"next"`
	}{Step: step}
	out.Samples, out.Skipped, out.Next = readSamples(f, int64(at))
	writeJSON(w, http.StatusOK, out)
}

func noRollouts(step int) error {
	return fail(http.StatusNotFound, "invalid_request_error", "step", "rollouts_not_found",
		fmt.Sprintf("no rollouts of step %d were kept; GET .../rollouts lists the steps that have some", step))
}

// readSamples reads whole lines from a byte on.
func readSamples(r io.ReaderAt, at int64) (out []sample, skipped int, next int64) {
	out = []sample{}
	in := bufio.NewReaderSize(io.NewSectionReader(r, at, 1<<62), 64<<10)
	read := int64(0)
	for read < rolloutBytes && len(out) < maxSamples {
		line, n, err := boundedLine(in, maxRolloutLine)
		if err != nil {
			return out, skipped, 0 // the end; half a line is not read yet
		}
		read += n
		var s sample
		switch {
		case line != nil && json.Unmarshal(line, &s) == nil:
			s.clip()
			out = append(out, s)
		case len(bytes.TrimSpace(line)) > 0 || line == nil:
			skipped++
		}
	}
	return out, skipped, at + read
}

// boundedLine is the next line and its length in the file; one of more than limit bytes
// is passed over and nil.
func boundedLine(in *bufio.Reader, limit int) (line []byte, n int64, err error) {
	line = []byte{}
	for {
		part, err := in.ReadSlice('\n')
		n += int64(len(part))
		if line != nil && len(line)+len(part) <= limit {
			line = append(line, part...)
		} else {
			line = nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, n, err
		}
	}
}

func (s *sample) clip() {
	for _, text := range []*string{&s.Task, &s.Prompt, &s.Text, &s.Thought, &s.Answer, &s.Finish} {
		if len(*text) > maxField {
			end := maxField
			for end > 0 && !utf8.RuneStart((*text)[end]) {
				end--
			}
			*text, s.Cut = (*text)[:end], true
		}
	}
	for _, raw := range []*json.RawMessage{&s.Reference, &s.Verdict} {
		if len(*raw) > maxField {
			*raw, s.Cut = nil, true
		}
	}
}
