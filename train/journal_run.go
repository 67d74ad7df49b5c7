package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// RunFile is run.json: what a run was begun with, and what was fixed since. O are the
// options of its kind; json.RawMessage reads those of any.
type RunFile[O any] struct {
	Format     int             `json:"format"`         // Write fills it in
	Kind       string          `json:"kind,omitempty"` // sft, grpo, r1, distill; "" is train
	Options    O               `json:"options"`
	Model      json.RawMessage `json:"model"`       // config.json of the model
	TotalSteps int             `json:"total_steps"` // 0 until fixed
}

const runFormat = 1

// ErrExists is what beginning a run in a folder that holds one wraps.
var ErrExists = errors.New("the folder already holds a run")

func runPath(run string) string { return filepath.Join(run, "run.json") }

// ReadRun reads run.json of a folder. A kind other than "" must be the run's. Where there
// is no such file the error wraps os.ErrNotExist.
func ReadRun[O any](folder, kind string) (*RunFile[O], error) {
	raw, err := os.ReadFile(runPath(folder))
	if err != nil {
		if info, e := os.Stat(folder); e == nil && !info.IsDir() {
			return nil, fmt.Errorf("%s is a file: name a folder with --out", folder)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("the run's folder: %w: name one that can be read with --out", err)
		}
		return nil, err
	}
	damaged := func(err error) error {
		return fmt.Errorf("%s is damaged (%w): restore it, or begin another run with another --out", runPath(folder), err)
	}
	var version struct {
		Format int
		Kind   string
	}
	if err := json.Unmarshal(raw, &version); err != nil {
		return nil, damaged(err)
	}
	if version.Format != runFormat {
		return nil, fmt.Errorf("%s has format %d, this program knows %d: use the program that began the run", runPath(folder), version.Format, runFormat)
	}
	if is := kindOr(version.Kind); kind != "" && is != kind {
		return nil, fmt.Errorf("%w: that in %s is of the kind %s, not %s: name another folder with --out", ErrExists, folder, is, kind)
	}
	r := &RunFile[O]{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, damaged(err)
	}
	return r, nil
}

// kindOr is a kind by its name.
func kindOr(kind string) string {
	if kind == "" {
		return "train"
	}
	return kind
}

// Write replaces run.json of a folder as a whole.
func (r *RunFile[O]) Write(folder string) error {
	r.Format = runFormat
	return WriteJSON(runPath(folder), r)
}

// Fill gives the fields of o that are at their zero value those of from. Both are structs
// of the same type.
func Fill[O any](o *O, from O) {
	dst, src := reflect.ValueOf(o).Elem(), reflect.ValueOf(from)
	for i := range dst.NumField() {
		if f := dst.Field(i); f.CanSet() && f.IsZero() {
			f.Set(src.Field(i))
		}
	}
}

// Conflicts compares what a user asks for when a run goes on with what is stored, and
// names each difference that would change the run. A field at its zero value asks for
// nothing; one marked resume:"free", or without a name in JSON, may differ.
func Conflicts[O any](asked, stored *O) error {
	var bad []string
	a, b, t := reflect.ValueOf(*asked), reflect.ValueOf(*stored), reflect.TypeFor[O]()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Tag.Get("resume") == "free" || a.Field(i).IsZero() {
			continue
		}
		if x, y := plainValue(a.Field(i)), plainValue(b.Field(i)); !reflect.DeepEqual(x, y) {
			bad = append(bad, fmt.Sprintf("--%s is %v, the run has %v", strings.ReplaceAll(name, "_", "-"), x, y))
		}
	}
	if bad == nil {
		return nil
	}
	return fmt.Errorf("a run goes on with the options it began with:\n  %s\nleave these flags out, or begin another run with another --out",
		strings.Join(bad, "\n  "))
}

func plainValue(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	return v.Interface()
}
