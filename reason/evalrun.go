package reason

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"sonde/checkpoint"
	"sonde/model"
	"sonde/text"
	"sonde/train"
)

// EvalOptions is everything that decides what an evaluation asks and how. A field left at
// its zero value takes its default; those in force are stored in the folder's eval.json.
type EvalOptions struct {
	Tasks  string   `json:"tasks,omitempty" help:"Families of problems: all, or names with commas between them, each perhaps with a difficulty or a range of them (countdown@3, letters@1-2). Held-out problems at the default and at the hard difficulty, where none is named." placeholder:"LIST"`
	Data   []string `json:"data,omitempty" sep:"none" help:"JSONL file of problems, packed with gzip or not; may be repeated." placeholder:"FILE"`
	Format string   `json:"format,omitempty" enum:",tasks,gsm8k,math,aime,humaneval" default:"" help:"Format of --data: tasks, gsm8k, math, aime or humaneval. Told by the fields otherwise." placeholder:"NAME"`

	HeldOut bool `json:"held_out,omitempty" help:"Of --data take only the held-out problems, one in eight, that training leaves alone."`
	N       int  `json:"n,omitempty" help:"Problems of each task and difficulty (default: 100 of a family, all of a file)." placeholder:"N"`

	Seed     *uint64  `json:"seed,omitempty" help:"Decides problems and draws (default: 1)." placeholder:"N"`
	Samples  *int     `json:"samples,omitempty" help:"Answers drawn for each problem; 0 leaves the greedy one (default: 1)." placeholder:"N"`
	NoGreedy bool     `json:"no_greedy,omitempty" help:"Leave out the greedy answers, of temperature 0."`
	K        []int    `json:"k,omitempty" name:"k" help:"The k of pass@k and maj@k, with commas between them (default: --samples)." placeholder:"K"`
	Temp     *float64 `json:"temperature,omitempty" help:"Temperature of drawn answers (default: 1, and 0.6 for the benchmarks' files)." placeholder:"T"`
	TopP     *float64 `json:"top_p,omitempty" name:"top-p" help:"Draw among the fewest most probable tokens that together reach this probability (default: 1, and 0.95 for the benchmarks' files)." placeholder:"P"`
	// MaxTokens is R1's limit by default.
	MaxTokens int    `json:"max_tokens,omitempty" help:"Most tokens of an answer (default: 32768, or what the context has room for)." placeholder:"N"`
	Think     string `json:"think,omitempty" enum:",on,off" default:"" help:"Switch thoughts on or off where the model's template has a switch: on or off." placeholder:"SWITCH"`

	Parallel int    `json:"-" help:"Answers written together (default: 32, fewer where memory is short)." placeholder:"N"`
	Out      string `json:"-" help:"Folder for answers and reports; with it an evaluation can be interrupted." placeholder:"FOLDER"`
}

// Defaults of EvalOptions.
const (
	evalFamilyProblems = 100
	evalMaxTokens      = 32768
)

// EvalProgress says how far an evaluation has come.
type EvalProgress struct {
	Task      string // of the last answer
	Done, All int    // answers
	Tokens    int    // written since the evaluation began or went on
	New       int    // answers since then
}

// EvalModel says which model is evaluated and how it is opened; see sonde.Options.
type EvalModel struct {
	Name         string `json:"name"`
	Adapter      string `json:"adapter,omitempty"`
	ChatTemplate string `json:"chat_template,omitempty"`
	Activations  string `json:"activations,omitempty"`
}

// evalFile is a folder's eval.json.
type evalFile struct {
	Format int         `json:"format"`
	Model  EvalModel   `json:"model"`
	Opts   EvalOptions `json:"options"`
	// Finger is a hash of what the model thinks of a text, Prompts of every prompt.
	Finger  string `json:"model_fingerprint"`
	Prompts string `json:"prompts_sha256"`
}

// evalFormat is the number of the format of eval.json and samples.jsonl.
const evalFormat = 1

// Files of an evaluation's folder.
const (
	evalSettingsFile = "eval.json"
	evalSamplesFile  = "samples.jsonl"
	evalReportJSON   = "report.json"
	evalReportMD     = "report.md"
)

// ResumeEval reads what an interrupted evaluation in the folder o.Out was asked to do:
// the model and the options in force. What is set in m and o must be the same.
func ResumeEval(m EvalModel, o EvalOptions) (EvalModel, EvalOptions, error) {
	if o.Out == "" {
		return m, o, errors.New("--resume needs --out, the folder of the evaluation to go on with")
	}
	f, err := readEvalFile(o.Out)
	if err != nil {
		return m, o, err
	}
	bad := differs(m, f.Model)
	if bad == "" {
		bad = differs(o, f.Opts)
	}
	switch bad {
	case "":
	case "name":
		return m, o, fmt.Errorf("the evaluation in %s is of the model %q, not of %q; choose another --out for that", o.Out, f.Model.Name, m.Name)
	default:
		return m, o, fmt.Errorf("--%s differs from that of the evaluation in %s; leave it out, or choose another --out", bad, o.Out)
	}
	f.Opts.Out, f.Opts.Parallel = o.Out, o.Parallel
	return f.Model, f.Opts, nil
}

// differs is the first flag that is set in given and not the same in kept.
func differs[T any](given, kept T) string {
	g, k := reflect.ValueOf(given), reflect.ValueOf(kept)
	for i := range g.NumField() {
		name, _, _ := strings.Cut(g.Type().Field(i).Tag.Get("json"), ",")
		if name != "-" && !g.Field(i).IsZero() && !reflect.DeepEqual(g.Field(i).Interface(), k.Field(i).Interface()) {
			if name == "temperature" {
				name = "temp"
			}
			return strings.ReplaceAll(name, "_", "-")
		}
	}
	return ""
}

func readEvalFile(dir string) (f evalFile, err error) {
	path := filepath.Join(dir, evalSettingsFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("there is no evaluation in %s (no %s); begin one without --resume", dir, evalSettingsFile)
	}
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("%s: %w", path, err)
	}
	if f.Format != evalFormat {
		return f, fmt.Errorf("%s: format %d is not known, only %d; use the version of sonde that wrote it", path, f.Format, evalFormat)
	}
	return f, nil
}

// Settled is o with its defaults put in, or what is wrong with it.
func (o EvalOptions) Settled() (EvalOptions, error) {
	if o.Tasks == "" && len(o.Data) == 0 {
		o.Tasks = "all"
	}
	if o.Seed == nil {
		o.Seed = new(uint64(1))
	}
	if o.Samples == nil {
		o.Samples = new(1)
	}
	switch {
	case o.N < 0:
		return o, fmt.Errorf("--n is %d; it must be above 0", o.N)
	case *o.Samples < 0 || *o.Samples > 4096:
		return o, fmt.Errorf("--samples is %d; it must be from 0 to 4096", *o.Samples)
	case *o.Samples == 0 && o.NoGreedy:
		return o, errors.New("with --samples 0 and --no-greedy there is nothing to ask for")
	case o.Temp != nil && *o.Temp == 0 && *o.Samples > 0:
		return o, errors.New("--temp 0 draws the greedy answer every time; use --samples 0 instead")
	case o.MaxTokens < 0:
		return o, fmt.Errorf("--max-tokens is %d; it must be above 0", o.MaxTokens)
	case o.Parallel < 0 || o.Parallel > 4096:
		return o, fmt.Errorf("--parallel is %d; it must be from 1 to 4096", o.Parallel)
	case len(o.Data) == 0 && (o.Format != "" || o.HeldOut):
		return o, errors.New("--format and --held-out are about --data, which is missing")
	}
	for _, k := range o.K {
		if k < 1 || k > *o.Samples {
			return o, fmt.Errorf("--k is %d; it must be from 1 to --samples, which is %d", k, *o.Samples)
		}
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = evalMaxTokens
	}
	return o, nil
}

// sets are all problems asked for.
func (o *EvalOptions) sets() ([]EvalSet, error) {
	var out []EvalSet
	if o.Tasks != "" {
		sets, err := HeldOutSets(o.Tasks, *o.Seed, cmpOr(o.N, evalFamilyProblems))
		if err != nil {
			return nil, err
		}
		out = sets
	}
	for _, path := range o.Data {
		sets, err := ReadEvalFile(path, o.Format, o.HeldOut)
		if err != nil {
			return nil, err
		}
		taken := func(name string) bool {
			return slices.ContainsFunc(out, func(s EvalSet) bool { return s.Task == name })
		}
		name := sets[0].Task
		if taken(name) {
			name += " " + baseName(path)
		}
		if taken(name) {
			return nil, fmt.Errorf("%s: there are problems named %q already; give the file another name", path, name)
		}
		for i := range sets {
			sets[i].Task = name
			if o.N > 0 {
				sets[i].Problems = sets[i].Problems[:min(o.N, len(sets[i].Problems))]
			}
		}
		out = append(out, sets...)
	}
	return out, nil
}

// settings are those of Evaluate.
func (o *EvalOptions) settings() EvalSettings {
	s := EvalSettings{Seed: *o.Seed, Samples: *o.Samples, NoGreedy: o.NoGreedy, Ks: o.K, Temperature: o.Temp, TopP: o.TopP, MaxTokens: o.MaxTokens, Parallel: o.Parallel}
	if o.Think != "" {
		s.Thinking = new(o.Think == "on")
	}
	return s
}

// RunEval evaluates the model e, which is m, as o says and, where o.Out is set, keeps every
// answer in its folder, so that an evaluation that was stopped in any way goes on with
// resume and ends with the same files to the last byte. progress, where not nil, is called
// after every answer. An error that wraps train.ErrInterrupted says that the evaluation
// was cancelled.
func RunEval(ctx context.Context, e Examinee, m EvalModel, o EvalOptions, resume bool, progress func(EvalProgress)) (*EvalReport, error) {
	o, err := o.Settled()
	if err != nil {
		return nil, err
	}
	sets, err := o.sets()
	if err != nil {
		return nil, err
	}
	s := o.settings()
	s.Parallel = cmpOr(s.Parallel, affordable(e, o.MaxTokens))
	prompts, err := evalPrompts(e, sets, s.Thinking)
	if err != nil {
		return nil, err
	}
	var folder *evalFolder
	if o.Out != "" {
		f := evalFile{Format: evalFormat, Model: m, Opts: o, Prompts: promptsHash(prompts)}
		if f.Finger, err = fingerprint(ctx, e); err != nil {
			return nil, err
		}
		if folder, err = openEvalFolder(o.Out, f, resume); err != nil {
			return nil, err
		}
		defer folder.close()
		s.Done = folder.done(sets, s)
	}
	s.Each = eachAnswer(folder, sets, s, progress)
	r, err := evaluate(ctx, e, sets, prompts, s)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, interruptedEval(o.Out)
	case err != nil:
		return nil, err
	case folder != nil:
		err = folder.finish(r, sets)
	}
	return r, err
}

// interruptedEval says how to go on.
func interruptedEval(out string) error {
	if out == "" {
		return fmt.Errorf("%w: nothing was kept; with --out an evaluation can go on later", train.ErrInterrupted)
	}
	return fmt.Errorf("%w, all answers saved: go on with\n  sonde eval --out %s --resume", train.ErrInterrupted, train.ShellQuote(out))
}

// eachAnswer keeps an answer and tells how far the evaluation has come.
func eachAnswer(folder *evalFolder, sets []EvalSet, s EvalSettings, progress func(EvalProgress)) func(EvalSample) error {
	p := EvalProgress{Done: len(s.Done)}
	per := s.Samples
	if !s.NoGreedy {
		per++
	}
	for _, set := range sets {
		p.All += per * len(set.Problems)
	}
	return func(a EvalSample) error {
		p.Task, p.Done, p.New, p.Tokens = a.Task, p.Done+1, p.New+1, p.Tokens+a.Tokens
		if progress != nil {
			progress(p)
		}
		if folder == nil {
			return nil
		}
		return folder.add(a)
	}
}

// affordable is how many answers may be under way together: as many as keep their keys
// and values within a quarter of the machine's memory, if all were of full length.
func affordable(e Examinee, maxTokens int) int {
	c, ok := e.(interface{ Config() model.Config })
	each := int64(0)
	if ok {
		each = c.Config().KVBytesPerToken() * int64(min(maxTokens, e.Engine().Context()))
	}
	if each <= 0 {
		return EvalParallel
	}
	return int(min(max(checkpoint.MachineMemory()/4/each, 1), EvalParallel))
}

// fingerprintText is what fingerprint has the model read.
const fingerprintText = "What is 12 + 30? It is 42."

// fingerprint is a hash of the probabilities that a model gives to a text: another model,
// or other weights of the same one, have another.
func fingerprint(ctx context.Context, e Examinee) (string, error) {
	ids := e.Tokenizer().Encode(fingerprintText)
	ids = ids[:min(len(ids), e.Engine().Context()-1)]
	t, err := e.Engine().Admit(ctx)
	if err != nil {
		return "", err
	}
	defer t.Release()
	scores, err := t.Score(ctx, ids, 0)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, s := range scores {
		h.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(s.LogProb)))
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// promptsHash is a hash of the tokens of every prompt.
func promptsHash(prompts [][]*text.ChatPrompt) string {
	h := sha256.New()
	for _, set := range prompts {
		for _, p := range set {
			for _, id := range append(p.IDs, -1) {
				h.Write(binary.LittleEndian.AppendUint32(nil, uint32(id)))
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// evalFolder is an evaluation's folder, its answers open for writing.
type evalFolder struct {
	dir     string
	lock    *checkpoint.Lock
	samples *os.File
	all     map[evalKey]EvalSample
}

// openEvalFolder makes a folder, or opens one to go on with.
func openEvalFolder(dir string, f evalFile, resume bool) (*evalFolder, error) {
	have, err := readEvalFile(dir)
	switch {
	case resume && err != nil:
		return nil, err
	case resume && have.Finger != f.Finger:
		return nil, fmt.Errorf("the evaluation in %s was begun with other weights, or on a machine that computes other bits; begin another with another --out", dir)
	case resume && have.Prompts != f.Prompts:
		return nil, fmt.Errorf("the evaluation in %s was begun with other problems or another chat template; begin another with another --out", dir)
	case !resume && err == nil:
		return nil, fmt.Errorf("there is an evaluation in %s already: go on with --resume, or choose another --out", dir)
	}
	d := &evalFolder{dir: dir, all: map[evalKey]EvalSample{}}
	if d.lock, err = checkpoint.LockRun(dir); err != nil {
		return nil, err
	}
	if !resume {
		err = train.WriteJSON(filepath.Join(dir, evalSettingsFile), f)
	}
	if err == nil {
		err = d.open()
	}
	if err != nil {
		_ = d.lock.Unlock()
		return nil, err
	}
	return d, nil
}

// open reads the answers that are there, up to the first line that is damaged, as the
// last one is where the machine stopped while writing, and opens the file behind them.
func (d *evalFolder) open() error {
	path := filepath.Join(d.dir, evalSamplesFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	good := int64(0)
	for r := bufio.NewReader(file); ; {
		line, err := r.ReadBytes('\n')
		var s EvalSample
		if err != nil || json.Unmarshal(line, &s) != nil {
			break
		}
		good += int64(len(line))
		d.all[s.key()] = s
	}
	if err := errors.Join(file.Truncate(good), seekTo(file, good)); err != nil {
		file.Close()
		return err
	}
	d.samples = file
	return nil
}

func seekTo(f *os.File, at int64) error {
	_, err := f.Seek(at, io.SeekStart)
	return err
}

// close closes what is open; of an answer's line nothing is held back.
func (d *evalFolder) close() {
	_ = d.samples.Close()
	_ = d.lock.Unlock()
}

// done are the answers that are there to what is asked.
func (d *evalFolder) done(sets []EvalSet, s EvalSettings) []EvalSample {
	var out []EvalSample
	for _, set := range sets {
		for p := range set.Problems {
			for k := 0; k <= s.Samples; k++ {
				if a, ok := d.all[evalKey{set.Task, set.Difficulty, p, k}]; ok {
					out = append(out, a)
				}
			}
		}
	}
	return out
}

// add writes an answer. A kill loses no line that was written.
func (d *evalFolder) add(s EvalSample) error {
	d.all[s.key()] = s
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = d.samples.Write(append(line, '\n'))
	return err
}

// finish puts the answers in order and writes the reports.
func (d *evalFolder) finish(r *EvalReport, sets []EvalSet) error {
	order := map[evalKey]int{}
	for i, set := range sets {
		order[evalKey{task: set.Task, difficulty: set.Difficulty}] = i
	}
	samples := make([]EvalSample, 0, len(d.all))
	for _, s := range d.all {
		samples = append(samples, s)
	}
	place := func(s EvalSample) []int {
		return []int{order[evalKey{task: s.Task, difficulty: s.Difficulty}], s.Problem, s.Sample}
	}
	slices.SortFunc(samples, func(a, b EvalSample) int { return slices.Compare(place(a), place(b)) })
	var lines, report, markdown bytes.Buffer
	e := json.NewEncoder(&lines)
	e.SetEscapeHTML(false)
	for _, s := range samples {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	if err := errors.Join(r.WriteJSON(&report), r.WriteMarkdown(&markdown), d.samples.Close()); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		b    *bytes.Buffer
	}{{evalSamplesFile, &lines}, {evalReportJSON, &report}, {evalReportMD, &markdown}} {
		if err := train.WriteFile(filepath.Join(d.dir, f.name), f.b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}
