package deepseek

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed presets/*.json
var presets embed.FS

// PresetNames lists the built-in configs, smallest first: r1-sums is for experiments with
// one small task, r1-nano for the model that learns to reason on a laptop; the others are
// for text, and v3 for plans.
func PresetNames() []string { return []string{"r1-sums", "r1-nano", "nano", "mini", "small", "v3"} }

// Preset is a built-in config by name.
func Preset(name string) (*Config, error) {
	data, err := presets.ReadFile("presets/" + name + ".json")
	if err != nil || !slices.Contains(PresetNames(), name) {
		return nil, fmt.Errorf("no preset is named %q; there are %s", name, strings.Join(PresetNames(), ", "))
	}
	c, _, err := ParseConfig(data)
	return c, err
}
