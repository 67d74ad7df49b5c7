package train

import (
	"encoding/json"
	"errors"
	"fmt"

	"sonde/checkpoint"
)

// LockFolder takes a run's folder, creating it where needed.
func LockFolder(folder string) (*checkpoint.Lock, error) {
	lock, err := checkpoint.LockRun(folder)
	if err != nil && !errors.Is(err, checkpoint.ErrLocked) {
		err = fmt.Errorf("the run's folder: %w: name one that can be written with --out", err)
	}
	return lock, err
}

// LatestState opens the newest whole state in a run's folder, nil where there is none, and
// reads its values. Damaged ones on the way are told to p. Close it.
func LatestState(folder string, values any, p *Progress) (*checkpoint.Saved, error) {
	s, err := checkpoint.LoadLatest(folder)
	if errors.Is(err, checkpoint.ErrNoState) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, d := range s.Damaged {
		p.Note("warning    a newer checkpoint is damaged and passed over: %v", d)
	}
	if err := json.Unmarshal(s.Values, values); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: its values are damaged: %w", s.Dir, err)
	}
	return s, nil
}

// Resumed says where a run goes on that will have so many steps, and with which kernels.
func (p *Progress) Resumed(s *checkpoint.Saved, kernels string, steps int) {
	if s.Kernels != kernels {
		p.Note("note       the run was computed by %s kernels, it goes on with %s", s.Kernels, kernels)
	}
	p.Note("resume     from step %d of %d", s.Step, steps)
}
