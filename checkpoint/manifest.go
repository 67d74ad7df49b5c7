package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// stateFormat is the number of the layout of a training state. Readers of another
// number refuse it; a new layout keeps this manifest's first field and last line.
const stateFormat = 1

// manifest describes a training state. It is written when every other file is on
// disk, and its last line is the SHA-256 of all that precedes, so that no byte of a
// state is without a sum.
type manifest struct {
	Format  int                     `json:"format"`
	Step    int                     `json:"step"`
	Kernels string                  `json:"kernels"` // which kernels computed the run
	Files   map[string]manifestFile `json:"files"`
	Tensors []manifestTensor        `json:"tensors"`
	Values  json.RawMessage         `json:"values"` // the caller's
	Sum     string                  `json:"manifest_sha256"`
}

type manifestFile struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

type manifestTensor struct {
	File  string `json:"file"`
	Name  string `json:"name"`
	DType DType  `json:"dtype"`
	Shape []int  `json:"shape"`
}

const sumKey = `,` + "\n" + `  "manifest_sha256": "`
const sumEnd = `"` + "\n}\n"

// encode is the manifest's text: one line a field, one line a tensor.
func (m *manifest) encode() ([]byte, error) {
	var b bytes.Buffer
	var failed error
	put := func(lead string, v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			failed = err
		}
		b.WriteString(lead)
		b.Write(raw)
	}
	put("{\n  \"format\": ", m.Format)
	put(",\n  \"step\": ", m.Step)
	put(",\n  \"kernels\": ", m.Kernels)
	put(",\n  \"values\": ", m.Values)
	put(",\n  \"files\": ", m.Files)
	b.WriteString(",\n  \"tensors\": [")
	for i, t := range m.Tensors {
		lead := ",\n    "
		if i == 0 {
			lead = "\n    "
		}
		put(lead, t)
	}
	b.WriteString("\n  ]")
	sum := sha256.Sum256(b.Bytes())
	b.WriteString(sumKey + hex.EncodeToString(sum[:]) + sumEnd)
	return b.Bytes(), failed
}

// decodeManifest reads and verifies a manifest. A format that is not ours is
// ErrFormat even where the sum is wrong: going back to an older state behind a newer
// program's back would lose work.
func decodeManifest(path string, raw []byte) (*manifest, error) {
	bad := func(problem string) error {
		return &FormatError{Path: path, Problem: problem}
	}
	var version struct {
		Format *int `json:"format"`
	}
	if err := json.Unmarshal(raw, &version); err != nil || version.Format == nil {
		return nil, bad("is not a manifest")
	}
	if *version.Format != stateFormat {
		return nil, fmt.Errorf("%s: %w: format %d, this program reads format %d (use the program that wrote it, or move that folder away to go on from the state before)",
			path, ErrFormat, *version.Format, stateFormat)
	}
	tail := len(sumKey) + hex.EncodedLen(sha256.Size) + len(sumEnd)
	if len(raw) < tail {
		return nil, bad("is cut short")
	}
	body := raw[:len(raw)-tail]
	sum := sha256.Sum256(body)
	if string(raw[len(body):]) != sumKey+hex.EncodeToString(sum[:])+sumEnd {
		return nil, bad("its SHA-256 does not match its contents")
	}
	m := new(manifest)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, bad(err.Error())
	}
	return m, nil
}
