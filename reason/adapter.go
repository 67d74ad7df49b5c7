package reason

import (
	"fmt"
	"os"
	"path/filepath"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
	"sonde/model/auto"
	"sonde/model/lora"
)

// OpenAdapted opens the checkpoint at path, a folder in Hugging Face's layout or a .gguf
// file, with a fresh adapter: its own weights stay where they are, mapped, in whatever
// format the file has, and the adapter alone is trained and saved. Rows that meet
// quantised weights are not rounded. The files must stay as they are until Close; what
// computes with the model runs inside checkpoint.Guard, so that a file cut short is an
// error.
func OpenAdapted(path string, be compute.Backend, o lora.Options) (*Model, error) {
	if checkpoint.IsAdapter(path) {
		return nil, fmt.Errorf("%s is an adapter already, which is trained further as it is: leave the new one's rank out, or merge it into its model first (sonde merge)", path)
	}
	return openOver(path, be, func(net model.Learner, ar *compute.Arena) (*lora.Model, error) { return lora.Attach(net, ar, o) })
}

// OpenAdapter opens the adapter in the folder dir on the model that it names, to be
// trained further; see OpenAdapted.
func OpenAdapter(dir string, be compute.Backend) (*Model, error) {
	a, err := checkpoint.OpenAdapter(dir)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	base := a.Base
	if _, err := os.Stat(base); err != nil && filepath.IsLocal(base) {
		base = filepath.Join(dir, base)
	}
	if _, err := os.Stat(base); err != nil || a.Base == "" {
		return nil, fmt.Errorf("%s: the adapter is of the model %q, which is not there: write its path into base_model_name_or_path of adapter_config.json", dir, a.Base)
	}
	return openOver(base, be, func(net model.Learner, ar *compute.Arena) (*lora.Model, error) { return a.Attach(net, ar) })
}

// openOver binds the checkpoint's weights and has attach put an adapter on them.
func openOver(path string, be compute.Backend, attach func(model.Learner, *compute.Arena) (*lora.Model, error)) (*Model, error) {
	src, err := checkpoint.Open(path)
	if err != nil {
		return nil, err
	}
	over := lora.New(be)
	places := compute.NewArena("the addresses of the model's weights", compute.AddressSpace{})
	m := &Model{be: over, ar: be.NewArena("the adapter, and weights that are copied from files")}
	m.close = func() {
		over.Free()
		places.Free()
		src.Close()
	}
	if err := m.bind(src, places, attach); err != nil {
		m.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	adapter := m.Net.(*lora.Model)
	m.save = func(dir string) error { return checkpoint.SaveAdapter(dir, adapter, path) }
	return m, nil
}

// bind makes the model over the files' memory.
func (m *Model) bind(src *checkpoint.Source, places *compute.Arena, attach func(model.Learner, *compute.Arena) (*lora.Model, error)) (err error) {
	defer compute.CatchOutOfMemory(&err)
	if err := m.read(src); err != nil {
		return err
	}
	net, ok := auto.New(m.Cfg, m.be, places, compute.F32).(model.Learner)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoLearner, m.Cfg.Architecture())
	}
	m.Net = net
	if err := src.Bind(net.Slots(), m.be, m.ar, checkpoint.BindOptions{Activations: compute.ActF32, FetchAhead: src.FitsMemory()}); err != nil {
		return err
	}
	adapted, err := attach(net, m.ar)
	if err == nil {
		m.Net = adapted
	}
	return err
}

// Adapter is the adapter that is trained, nil where all weights are.
func (m *Model) Adapter() *lora.Model {
	a, _ := m.Net.(*lora.Model)
	return a
}
