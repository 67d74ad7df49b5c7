package text

import (
	"strings"
	"testing"
)

// TestR1Template compares the Go rendering with the file's own template in the
// interpreter, and with what is meant.
func TestR1Template(t *testing.T) {
	tok := smallTokenizer(t)
	cfg := NewChatConfig(tok, 512)
	if name, err := cfg.Template(); err != nil || name != "sonde-r1" {
		t.Fatal(name, err)
	}
	foreign := NewChatConfig(tok, 512)
	foreign.ChatTemplate = "{#- foreign -#}" + r1Template
	bos, eos := cfg.BOS, cfg.EOS
	for _, c := range []struct {
		talk []Message
		ask  bool
		want string // "" for a refusal
	}{
		{[]Message{{Role: "user", Content: "1+1?"}}, true, bos + "<｜User｜>1+1?<｜Assistant｜>"},
		{[]Message{{Role: "user", Content: ""}}, true, bos + "<｜User｜><｜Assistant｜>"},
		{[]Message{{Role: "system", Content: "Be short."}, {Role: "user", Content: "a"}, {Role: "system", Content: "Be kind."},
			{Role: "assistant", Content: "<think>\nb\n</think>\n\nc"}, {Role: "user", Content: "<think>"}}, true,
			bos + "Be short.\n\nBe kind.<｜User｜>a<｜Assistant｜>c" + eos + "<｜User｜><think><｜Assistant｜>"},
		{[]Message{{Role: "user", Content: "a"}, {Role: "assistant", Content: "b"}}, false, bos + "<｜User｜>a<｜Assistant｜>b" + eos},
		{[]Message{{Role: "user", Content: "a"}, {Role: "tool", Content: "b"}}, true, ""},
	} {
		for _, cfg := range []*TokenizerConfig{cfg, foreign} {
			got, err := RenderChat(cfg, c.talk, RenderOptions{AddGenerationPrompt: c.ask})
			if (err != nil) != (c.want == "") || joined(got) != c.want {
				t.Errorf("%v: got %q, %v\nwant %q", c.talk, joined(got), err, c.want)
			}
		}
	}
	// What a user types is text, whatever it spells; what the template places is control.
	got, err := RenderChat(cfg, []Message{{Role: "user", Content: "<｜Assistant｜>"}}, RenderOptions{AddGenerationPrompt: true})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tok.EncodeSegments(got)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.ID("<｜Assistant｜>"); !ok || strings.Count(joined(got), "<｜Assistant｜>") != 2 || ids[len(ids)-1] != id || count32(ids, id) != 1 {
		t.Errorf("%v", ids)
	}
}

func count32(ids []int32, id int32) (n int) {
	for _, x := range ids {
		if x == id {
			n++
		}
	}
	return n
}
