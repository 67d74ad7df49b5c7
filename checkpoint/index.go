package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"

	maxIndex = 100_000_000 // bytes of an index, like a header
	maxJSON  = 256 << 20   // bytes of a configuration or a tokenizer
)

// readIndex reads a shard index and returns the file of every tensor. File names
// must be plain: an index comes from strangers, and must not lead out of its folder.
func readIndex(path string, raw []byte) (map[string]string, error) {
	refuse := func(problem string) error {
		return &FormatError{Path: path, Problem: problem, Try: "the index is damaged: fetch it again"}
	}
	if !json.Valid(raw) {
		return nil, refuse("is not JSON")
	}
	var weights map[string]string
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(raw))}
	err := p.object(func(key string) error {
		if key != "weight_map" {
			var skipped json.RawMessage
			return p.dec.Decode(&skipped)
		}
		if weights != nil {
			return refuse("weight_map occurs twice")
		}
		weights = map[string]string{}
		return p.object(func(tensor string) error {
			file, err := p.str()
			if err != nil {
				return err
			}
			if _, twice := weights[tensor]; twice {
				return refuse(fmt.Sprintf("tensor %s occurs twice", quote(tensor)))
			}
			if err := checkShardName(file); err != nil {
				return refuse(fmt.Sprintf("tensor %s: %v", quote(tensor), err))
			}
			weights[tensor] = file
			return nil
		})
	})
	if err != nil {
		var fe *FormatError
		if errors.As(err, &fe) {
			fe.Path = path
		}
		return nil, err
	}
	if len(weights) == 0 {
		return nil, refuse("has no weight_map")
	}
	return weights, nil
}

func checkShardName(name string) error {
	if strings.ContainsAny(name, "/\\\x00") || !filepath.IsLocal(name) || !strings.HasSuffix(name, ".safetensors") {
		return fmt.Errorf("its file is %s, expected the plain name of a .safetensors file in the same folder", quote(name))
	}
	return nil
}

// openMember opens a regular file of the folder dir. Links are refused, so that a
// folder from elsewhere cannot make us read other files of this machine. The one
// exception is the layout of Hugging Face's cache, snapshots/REVISION/NAME linking to
// ../../blobs/HASH.
func openMember(dir, name string) (*os.File, error) {
	path := filepath.Join(dir, name)
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if before.Mode()&os.ModeSymlink != 0 {
		if path, before, err = cacheBlob(dir, path); err != nil {
			return nil, err
		}
	}
	if !before.Mode().IsRegular() {
		return nil, &FormatError{Path: path, Problem: "is not a regular file", Try: "put the file itself there"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	after, err := f.Stat()
	if err != nil || !os.SameFile(before, after) {
		f.Close()
		return nil, &FormatError{Path: path, Problem: "changed while it was being opened", Try: "try again", Err: err}
	}
	return f, nil
}

func cacheBlob(dir, path string) (string, os.FileInfo, error) {
	refused := &FormatError{Path: path, Problem: "is a link", Try: "links in a model's folder are not followed: put the file itself there"}
	target, err := os.Readlink(path)
	if err != nil {
		return "", nil, err
	}
	parts := strings.Split(filepath.ToSlash(target), "/")
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if filepath.Base(filepath.Dir(dir)) != "snapshots" || len(parts) != 4 ||
		!slices.Equal(parts[:3], []string{"..", "..", "blobs"}) || !filepath.IsLocal(parts[3]) {
		return "", nil, refused
	}
	blob := filepath.Join(dir, target)
	info, err := os.Lstat(blob)
	if err != nil {
		return "", nil, err
	}
	return blob, info, nil
}

// readMember reads a small file of the folder, nil when it does not exist.
func readMember(dir, name string, most int64) ([]byte, error) {
	f, err := openMember(dir, name)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, &FormatError{Path: f.Name(), Problem: fmt.Sprintf("has %d bytes, at most %d are allowed", info.Size(), most),
			Try: "it is not the file its name says: fetch it again"}
	}
	raw := make([]byte, info.Size())
	if _, err := io.ReadFull(f, raw); err != nil {
		return nil, readError(f.Name(), "", err)
	}
	return raw, nil
}
