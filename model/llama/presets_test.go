package llama

import "testing"

// TestPresets: the built-in configs are whole, and as small as they are meant to be.
func TestPresets(t *testing.T) {
	for _, name := range PresetNames() {
		c, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		if n := c.TotalParams(); n < 500e3 || n > 1.5e6 {
			t.Errorf("%s has %d parameters", name, n)
		}
	}
	if _, err := Preset("../config"); err == nil {
		t.Error("a preset that is not there was found")
	}
}
