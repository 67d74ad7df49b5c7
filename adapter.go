package sonde

import (
	"fmt"
	"path/filepath"

	"sonde/checkpoint"
)

// adapterBase has o's adapter be the one in the folder dir, and is the path of the model
// that the adapter names.
func (m *Model) adapterBase(dir string, o *Options) (string, error) {
	if o.Adapter != "" {
		return "", fmt.Errorf("%s is an adapter itself: name the model that %s is to be put on", dir, o.Adapter)
	}
	o.Adapter = dir
	return AdapterBase(dir)
}

// AdapterBase is the path of the model that the adapter in the folder dir was made for:
// a path as it stands, one beginning at the adapter's folder, or a model on the hub that
// was pulled.
func AdapterBase(dir string) (string, error) {
	a, err := checkpoint.OpenAdapter(dir)
	if err != nil {
		return "", err
	}
	defer a.Close()
	if a.Base == "" {
		return "", fmt.Errorf("%w: %s is an adapter that does not name its model: give the model, and the adapter with --adapter", ErrNoModel, dir)
	}
	if IsEmbedded(a.Base) {
		return a.Base, nil
	}
	path, err := Locate(a.Base)
	if err == nil {
		return path, nil
	}
	if beside, e := Locate(filepath.Join(dir, a.Base)); e == nil && filepath.IsLocal(a.Base) {
		return beside, nil
	}
	return "", fmt.Errorf("the model of the adapter %s: %w", dir, err)
}

// openAdapter opens the adapter in the folder dir, where one is named.
func (m *Model) openAdapter(dir string) (err error) {
	if dir != "" {
		m.adapter, err = checkpoint.OpenAdapter(dir)
	}
	return err
}
