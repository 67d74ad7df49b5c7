package text

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func joined(segments []Segment) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString(s.Text)
	}
	return b.String()
}

// templateCase is one line of goldens/template/NAME.jsonl.
type templateCase struct {
	Messages []struct {
		Role, Content string
		ToolCalls     json.RawMessage `json:"tool_calls"`
	}
	AddGenerationPrompt bool   `json:"add_generation_prompt"`
	BOS                 string `json:"bos_token"`
	EOS                 string `json:"eos_token"`
	Text                string
	Error               *string
}

// messages converts a case; ok is false when it calls tools, which is not built.
func (c *templateCase) messages() (out []Message, ok bool) {
	for _, m := range c.Messages {
		if m.Role == "tool" || !isNull(m.ToolCalls) {
			return nil, false
		}
		out = append(out, Message{Role: m.Role, Content: m.Content})
	}
	return out, true
}

// TestGoldenTemplate renders every conversation of every template that is built.
func TestGoldenTemplate(t *testing.T) {
	lists, _ := filepath.Glob(filepath.Join(sharedDir(t, "SONDE_GOLDENS", "goldens"), "template", "*.jsonl"))
	for _, list := range lists {
		t.Run(strings.TrimSuffix(filepath.Base(list), ".jsonl"), func(t *testing.T) {
			source, err := os.ReadFile(strings.TrimSuffix(list, ".jsonl") + ".jinja")
			if err != nil {
				t.Skip(err)
			}
			cfg := &TokenizerConfig{ChatTemplate: string(source)}
			if _, err := cfg.find(); err != nil {
				t.Skip(err)
			}
			checkTemplate(t, cfg, list)
		})
	}
}

func checkTemplate(t *testing.T, cfg *TokenizerConfig, list string) {
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	compared, bad := 0, 0
	var tools []int // lines
	for line := 1; lines.Scan(); line++ {
		var c templateCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		messages, ok := c.messages()
		if !ok {
			tools = append(tools, line)
			continue
		}
		cfg.BOS, cfg.EOS = c.BOS, c.EOS
		got, err := RenderChat(cfg, messages, c.AddGenerationPrompt)
		compared++
		if (err != nil) != (c.Error != nil) || err == nil && joined(got) != c.Text {
			bad++
			t.Errorf("%v\n got %q, %v\nwant %q", messages, joined(got), err, c.Text)
		}
	}
	t.Logf("%d conversations: %d differ; skipped, because they call tools (not built): lines %v", compared, bad, tools)
	if compared == 0 {
		t.Error("nothing was compared")
	}
}

func TestPlainTemplate(t *testing.T) {
	tok := smallTokenizer(t)
	cfg := NewTokenizerConfig(tok, 1024)
	talk := []Message{{"user", "What is <｜User｜>?"}, {"assistant", "A spelling."}, {"user", ""}}
	for _, ask := range []bool{false, true} {
		got, err := RenderChat(cfg, talk, ask)
		if err != nil {
			t.Fatal(err)
		}
		body := "What is <｜User｜>?\nA spelling.\n"
		if ask {
			body += "\n"
		}
		want := []Segment{{bosToken, true}, {body, false}}
		if !slices.Equal(got, want) {
			t.Errorf("ask %v: got %v, want %v", ask, got, want)
		}
		ids, err := tok.EncodeSegments(got)
		if err != nil || !slices.Equal(ids, append([]int32{tok.BOS()}, tok.Encode(body)...)) {
			t.Errorf("ids %v, %v", ids, err)
		}
	}
	cfg.BOS = ""
	if got, _ := RenderChat(cfg, talk[:1], false); len(got) != 1 || got[0].Control {
		t.Errorf("without BOS: %v", got)
	}
}

// TestPromptInjection: what a message spells never becomes a control token.
func TestPromptInjection(t *testing.T) {
	tok := smallTokenizer(t)
	cfg := NewTokenizerConfig(tok, 1024)
	for _, name := range TemplateNames() {
		if err := cfg.UseTemplate(name); err != nil {
			t.Fatal(err)
		}
		count := func(content string) (n int) {
			segments, err := RenderChat(cfg, []Message{{"system", content}, {"user", content}, {"assistant", content}}, true)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := tok.EncodeSegments(segments)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				if tok.Added(id) != nil {
					n++
				}
			}
			return n
		}
		all := ""
		for _, a := range tok.added {
			all += a.Content
		}
		if got, want := count(all), count("harmless"); got != want {
			t.Errorf("%s: %d control tokens with hostile content, %d with harmless", name, got, want)
		}
	}
}

func TestChatErrors(t *testing.T) {
	user := []Message{{"user", "hi"}}
	for _, c := range []struct {
		name     string
		cfg      TokenizerConfig
		messages []Message
		want     []string
		template bool
	}{
		{"none", TokenizerConfig{}, user, []string{"no chat_template", "--chat-template plain"}, true},
		{"unknown", TokenizerConfig{ChatTemplate: "{{ secret }}"}, user, []string{"{{ secret }}", "--chat-template plain"}, true},
		{"empty", TokenizerConfig{ChatTemplate: plainTemplate}, nil, []string{"at least one message"}, false},
		{"role", TokenizerConfig{ChatTemplate: plainTemplate}, []Message{{"root", "hi"}}, []string{`message 0: role "root"`, "assistant"}, false},
	} {
		_, err := RenderChat(&c.cfg, c.messages, true)
		if err == nil || errors.Is(err, ErrTemplate) != c.template {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q lacks %q", c.name, err, w)
			}
		}
	}
	if err := new(TokenizerConfig).UseTemplate("nope"); err == nil || !strings.Contains(err.Error(), "plain and deepseek-v3") {
		t.Errorf("unknown name: %v", err)
	}
	if _, err := smallTokenizer(t).EncodeSegments([]Segment{{"<|im_start|>", true}}); !errors.Is(err, ErrTemplate) {
		t.Errorf("control token that is not there: %v", err)
	}
}

func TestTokenizerConfig(t *testing.T) {
	want := NewTokenizerConfig(smallTokenizer(t), 2048)
	data, err := want.JSON()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTokenizerConfig(data)
	if err != nil || *got != *want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	for _, c := range []struct{ json, bos, template, fails string }{
		{`{"bos_token": null, "eos_token": "x", "model_max_length": 1000000000000000019884624838656}`, "", "", ""},
		{`{"bos_token": {"__type": "AddedToken", "content": "<s>"}, "other": [1]}`, "<s>", "", ""},
		{`{"bos_token": "<s>", "chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]}`, "<s>", "b", ""},
		{`{"chat_template": [{"name": "tool_use", "template": "a"}]}`, "", "", "chat_template"},
		{`{"bos_token": 3}`, "", "", "tokenizer_config.json"},
		{`[]`, "", "", "tokenizer_config.json"},
		{`{`, "", "", "damaged"},
	} {
		got, err := ParseTokenizerConfig([]byte(c.json))
		switch {
		case c.fails != "":
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: %v", c.json, err)
			}
		case err != nil || got.BOS != c.bos || got.ChatTemplate != c.template || got.MaxLength != 0:
			t.Errorf("%s: %+v, %v", c.json, got, err)
		}
	}
}

func TestUseConfig(t *testing.T) {
	tok := mustTrain(t, [][]byte{[]byte("some text, some text")}, TrainOptions{VocabSize: MinVocab})
	if err := tok.UseConfig(&TokenizerConfig{EOS: padToken}); err != nil || tok.BOS() != -1 || tok.EOS() != 2 {
		t.Errorf("bos %d, eos %d, %v", tok.BOS(), tok.EOS(), err)
	}
	err := tok.UseConfig(&TokenizerConfig{BOS: "<s>"})
	if err == nil || !strings.Contains(err.Error(), "bos_token") {
		t.Errorf("unknown token: %v", err)
	}
}
