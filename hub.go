package sonde

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sonde/checkpoint/hub"
)

// NotPulled says that a name stands for a model on the hub that is not in the cache.
// errors.Is finds it to be ErrNoModel.
type NotPulled struct{ Name hub.Name }

// Error says how to get it.
func (e *NotPulled) Error() string {
	return fmt.Sprintf("%v: %s is neither a file or folder nor in the cache; fetch it from the hub with \"sonde pull %s\"", ErrNoModel, e.Name, e.Name)
}

// Unwrap is ErrNoModel.
func (e *NotPulled) Unwrap() error { return ErrNoModel }

// Locate is the path of a model that is given by a path, or by a name on the hub
// (ORG/NAME, with @REVISION and :FILE or :QUANTISATION behind it) that is in the cache.
// It asks nobody; a name that is not there is a *NotPulled.
func Locate(name string) (string, error) {
	_, err := os.Stat(name)
	if err == nil {
		return name, nil
	}
	n, parseErr := hub.ParseName(name)
	if parseErr != nil || filepath.IsAbs(name) {
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%w: %s does not exist; name the folder of a training run or of a Hugging Face model, a .gguf file, or a model on the hub (ORG/NAME), or make one: \"sonde train --help\"", ErrNoModel, name)
		}
		return "", err
	}
	client, err := hub.New(os.Getenv)
	if err != nil {
		return "", err
	}
	snapshot, err := client.Find(n)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", &NotPulled{n}
		}
		return "", err
	}
	path, err := snapshot.Model()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, hub.ErrNotFound) {
		return "", &NotPulled{n}
	}
	return path, err
}

// Pull fetches a model from the hub into the cache, or brings it up to date, and
// returns its path. Set HF_HOME, HF_ENDPOINT and HF_TOKEN as for Hugging Face's tools.
func Pull(ctx context.Context, name string, report hub.Progress) (string, error) {
	n, err := hub.ParseName(name)
	if err != nil {
		return "", err
	}
	client, err := hub.New(os.Getenv)
	if err != nil {
		return "", err
	}
	snapshot, err := client.Pull(ctx, n, report)
	if err != nil {
		return "", err
	}
	return snapshot.Model()
}
