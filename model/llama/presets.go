package llama

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed presets/*.json
var presets embed.FS

// PresetNames lists the built-in configs, smallest first: r1-dense is a student for
// what a small DeepSeek model teaches.
func PresetNames() []string { return []string{"r1-dense"} }

// Preset is a built-in config by name.
func Preset(name string) (*Config, error) {
	data, err := presets.ReadFile("presets/" + name + ".json")
	if err != nil || !slices.Contains(PresetNames(), name) {
		return nil, fmt.Errorf("no preset is named %q; there are %s", name, strings.Join(PresetNames(), ", "))
	}
	c, _, err := ParseConfig(data)
	return c, err
}
