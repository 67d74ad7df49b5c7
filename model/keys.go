package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// ErrConfig is wrapped by every error about a config.json.
var ErrConfig = errors.New("config.json")

// BadKey is an ErrConfig about one key.
func BadKey(key, format string, args ...any) error {
	return fmt.Errorf("%w: %q %s", ErrConfig, key, fmt.Sprintf(format, args...))
}

// Keys are the keys of a JSON object in a config.json, not yet read.
type Keys map[string]json.RawMessage

// ReadKeys takes a config.json apart.
func ReadKeys(data []byte) (Keys, error) {
	var k Keys
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("%w is not a JSON object: %v", ErrConfig, err)
	}
	return k, nil
}

// Has says that key is there and not null.
func (k Keys) Has(key string) bool {
	raw, ok := k[key]
	return ok && string(bytes.TrimSpace(raw)) != "null"
}

// Read reads key into ptr, which keeps its value where the key is absent or null.
func (k Keys) Read(key string, ptr any) error {
	if !k.Has(key) {
		return nil
	}
	if err := json.Unmarshal(k[key], ptr); err != nil {
		return BadKey(key, "has the value %s: %v", k.Show(key), err)
	}
	return nil
}

// Need is Read for keys that must be there.
func (k Keys) Need(key string, ptr any) error {
	if !k.Has(key) {
		return BadKey(key, "is missing")
	}
	return k.Read(key, ptr)
}

// Show is the value of key as it stands in the file, cut short for messages.
func (k Keys) Show(key string) string {
	raw := k[key]
	if len(raw) > 60 {
		return string(raw[:60]) + "..."
	}
	return string(raw)
}

// Names are the keys in order.
func (k Keys) Names() []string {
	out := make([]string, 0, len(k))
	for key := range k {
		out = append(out, key)
	}
	sort.Strings(out)
	return out
}

// Unknown warns of the keys that are in none of the lists.
func (k Keys) Unknown(known ...[]string) []string {
	var out []string
	for _, key := range k.Names() {
		if !slices.ContainsFunc(known, func(l []string) bool { return slices.Contains(l, key) }) {
			out = append(out, fmt.Sprintf("config.json: unknown key %q is passed over", key))
		}
	}
	return out
}
