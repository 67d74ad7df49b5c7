package train

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func TestJournalIsCutAtTheCheckpoint(t *testing.T) {
	run := t.TempDir()
	j, err := OpenJournal(run, 0, func(Record) { t.Error("an empty log has a line") })
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 5; i++ {
		r := Record{Step: i, Numbers: []Number{{"loss", 1 / float64(i) / 3}, {"kl", math.NaN()}}, Loads: [][]int64{{int64(i), 0}}}
		if err := j.Add(r); err != nil {
			t.Fatal(err)
		}
		if err := j.WriteRollouts(i, []Rollout{{Step: i, Text: "<think>"}}); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, j.Add(Record{Step: 7}), "step 7 after step 5")
	j.f.WriteString(`{"step":6,"lo`) // cut off by a kill
	put(t, RolloutsPath(run, 2)+tmpSuffix, "{")
	j.Close()

	var losses []float64
	j, err = OpenJournal(run, 3, func(r Record) {
		loss, _ := r.Get("loss")
		losses = append(losses, loss)
		if _, ok := r.Get("kl"); ok || r.Loads[0][0] != int64(r.Step) || r.Time < 1e9 {
			t.Errorf("a line is read as %+v", r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{1.0 / 3, 1.0 / 2 / 3, 1.0 / 3 / 3}, losses); diff != "" {
		t.Error(diff)
	}
	left, _ := filepath.Glob(filepath.Join(run, "rollouts", "*"))
	if len(left) != 3 || left[2] != RolloutsPath(run, 3) {
		t.Errorf("the rollouts left are %q", left)
	}
	if raw, err := os.ReadFile(left[0]); err != nil || !strings.Contains(string(raw), `"text":"<think>"`) {
		t.Errorf("a rollout is %s, %v", raw, err)
	}
	addAmended(t, j, run)
	_, err = OpenJournal(run, 9, nil)
	wantError(t, err, "5 of the 9 steps", "log.jsonl")
}

// addAmended writes two more steps, the first amended to a longer line and back.
func addAmended(t *testing.T, j *Journal, run string) {
	t.Helper()
	for i, amend := range []float64{1.25, 1.0 / 3, 2} {
		if i != 1 {
			if err := j.Add(Record{Step: 4 + i/2, Numbers: []Number{{"loss", 9}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Amend(Number{heldoutBPB, amend}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Amend(Number{heldoutBPB, 1.0 / 3}, Number{heldoutBPB, 2}); err != nil {
		t.Fatal(err)
	}
	j.Close()
	lines, err := ReadLog(run)
	if err != nil || len(lines) != 5 || lines[3].Loss != 9 || *lines[3].HeldoutBPB != 1.0/3 || *lines[4].HeldoutBPB != 2 || lines[2].HeldoutBPB != nil {
		t.Errorf("read %+v, %v", lines, err)
	}
}

// Logs of programs before the journal had one name for everything: read, not refused.
func TestOldLogsAreRead(t *testing.T) {
	run := t.TempDir()
	put(t, logPath(run), `{"step":1,"tokens":2048,"loss":5.5,"mtp_loss":0,"lr":0.001,"grad_norm":2,"load_max_mean":1.5,"tokens_per_s":1000,"mfu":0.5,"heldout_bpb":3.5}`+"\n")
	want := 3.5
	got, err := ReadLog(run)
	if diff := cmp.Diff([]Line{{Step: 1, Tokens: 2048, Loss: 5.5, LR: 0.001, GradNorm: 2, LoadMaxMean: 1.5, TokensPerS: 1000, MFU: 0.5, HeldoutBPB: &want}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRunFileHasOneKind(t *testing.T) {
	run := t.TempDir()
	if err := (&RunFile[Options]{Kind: "sft", Options: Options{Steps: 3}, TotalSteps: 3}).Write(run); err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRun[json.RawMessage](run, ""); err != nil || r.Kind != "sft" || r.TotalSteps != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	_, err := ReadRun[Options](run, "train")
	wantError(t, err, "of the kind sft", "--out")
	if !errors.Is(err, ErrExists) {
		t.Error("another kind's folder is not free")
	}
	put(t, runPath(run), `{"format":7}`)
	_, err = ReadRun[Options](run, "train")
	wantError(t, err, "format 7")
}

// Reads back what the event writer wrote, by the formats' descriptions.
func TestEventsAreFramedAndSummed(t *testing.T) {
	run := t.TempDir()
	e, err := createEvents(run, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.numbers(4, []Number{{"loss", 2.5}, {"kl", math.Inf(1)}, {"lr", 0.25}}); err != nil {
		t.Fatal(err)
	}
	if err := e.close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(run, "events.out.tfevents.*"))
	if len(names) != 1 {
		t.Fatalf("event files: %v", names)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for len(raw) > 0 {
		n := binary.LittleEndian.Uint64(raw)
		data := raw[12 : 12+n]
		for _, sum := range [][2][]byte{{raw[:8], raw[8:12]}, {data, raw[12+n : 16+n]}} {
			c := crc32.Checksum(sum[0], crc32.MakeTable(crc32.Castagnoli))
			if want := (c>>15 | c<<17) + 0xa282ead8; binary.LittleEndian.Uint32(sum[1]) != want {
				t.Error("a checksum is wrong")
			}
		}
		events = append(events, string(data[9:])) // after the time
		raw = raw[16+n:]
	}
	f32 := func(v float32) string { return string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v))) }
	want := []string{"\x10\x00\x1a\x0dbrain.Event:2", "\x10\x04\x3a\x02\x08\x01",
		"\x10\x04\x2a\x18\x0a\x0b\x0a\x04loss\x15" + f32(2.5) + "\x0a\x09\x0a\x02lr\x15" + f32(0.25)}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Error(diff)
	}
}

func TestSpikes(t *testing.T) {
	var s spikeWatch
	for i := range 200 {
		if s.add(5 - float64(i)*0.01 + 0.1*float64(i%3)) {
			t.Fatalf("a falling loss is called a spike at %d", i)
		}
	}
	for i, want := range []bool{false, false, false, false, false, true} {
		loss := 9.0
		if i == 2 {
			loss = 3 // two bad batches, then a good one
		}
		if got := s.add(loss); got != want {
			t.Errorf("high step %d: spike %v, expected %v: three in a row are one, fewer are not", i, got, want)
		}
	}
	if !strings.Contains(s.describe(), "3 steps in a row") {
		t.Error(s.describe())
	}
}

func TestCurve(t *testing.T) {
	var curve []CurvePoint
	for i := 1; i <= 500; i++ {
		curve = append(curve, CurvePoint{i, 2 + 3*math.Exp(-float64(i)/100)})
	}
	got := DrawCurve(curve, []CurvePoint{{250, 2.3}, {500, 2.05}}, 2.5, 500, 60, 8)
	lines := strings.Split(strings.TrimRight(got, "\n"), "\n")
	if len(lines) != 10 || strings.Count(got, "●") != 2 || !strings.Contains(got, "╌╌╌") || !strings.Contains(lines[9], "step 500") {
		t.Errorf("the curve lacks something:\n%s", got)
	}
	first, last := []rune(lines[0]), []rune(lines[7])
	if first[8] < 0x2800 || last[len(last)-1] == ' ' {
		t.Errorf("the curve should fall from the top left to the bottom right:\n%s", got)
	}
	for _, flat := range [][]CurvePoint{nil, {{1, 3}}, {{1, 3}, {2, 3}}} {
		DrawCurve(flat, nil, 0, 2, 40, 6) // must not divide by zero
	}
}

func TestSamplesCannotSteerTheTerminal(t *testing.T) {
	var b strings.Builder
	NewProgress(&b).Text("sample at step 3:", "ok\n\x1b[2Jgone\u009b1m\ttab")
	if got := b.String(); got != "sample at step 3:\n  | ok\n  | [2Jgone1m\ttab\n" {
		t.Errorf("%q", got)
	}
}

// The last figure of the held-out text, which comes after the last step, is in the
// event file too.
func TestEventsEndWithTheHeldOutText(t *testing.T) {
	c := tinyConfig(t, filepath.Join(t.TempDir(), "run"), 3)
	s, _ := mustRun(t, c)
	names, _ := filepath.Glob(filepath.Join(c.Out, "events.out.tfevents.*"))
	if len(names) != 1 {
		t.Fatalf("event files: %v", names)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	want := "\x10\x03\x2a\x14\x0a\x12\x0a\x0bheldout_bpb\x15" + string(binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(s.HeldoutBPB))))
	if tail := string(raw[:len(raw)-4]); !strings.HasSuffix(tail, want) {
		t.Errorf("the file ends with %q, expected %q", tail[max(0, len(tail)-60):], want)
	}
}
