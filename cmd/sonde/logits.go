package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"sonde"
	"sonde/model"
)

// logitsCmd prints a model's logits, for programs that compare them with another
// implementation's.
type logitsCmd struct {
	Model string `arg:"" help:"Folder of the model."`
	threadFlag
	activationsFlag
}

// Help is shown with the flags.
func (logitsCmd) Help() string {
	return `Reads one JSON array of token ids a line from standard input and writes, for each, the logits after every token: little-endian float32, [tokens, vocabulary].

Examples:
  echo '[0, 17, 42]' | sonde logits runs/go > logits.f32`
}

// Run answers line after line.
func (c logitsCmd) Run(ctx context.Context, s streams) error {
	m, err := open(ctx, s, c.Model, sonde.Options{Threads: c.Threads, Activations: c.Activations})
	if err != nil {
		return err
	}
	defer m.Close()
	out := bufio.NewWriter(s.out)
	lines := json.NewDecoder(s.in)
	for n := 1; ; n++ {
		var ids []int32
		err := lines.Decode(&ids)
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err == nil {
			err = writeLogits(out, m.Network(), ids)
		}
		if err != nil {
			return fmt.Errorf("array %d of token ids: %w", n, err)
		}
	}
}

// writeLogits runs one sequence through the model.
func writeLogits(w io.Writer, m model.Net, ids []int32) error {
	vocab := m.Describe().Vocab()
	for _, id := range ids {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("token %d is not in the vocabulary of %d", id, vocab)
		}
	}
	if limit := m.Describe().Context(); len(ids) == 0 || len(ids) > limit {
		return fmt.Errorf("%d tokens; the model takes 1 to %d", len(ids), limit)
	}
	logits, err := model.Logits(m, ids)
	if err != nil {
		return err
	}
	raw := make([]byte, 0, 4*len(logits))
	for _, v := range logits {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	_, err = w.Write(raw)
	return err
}
