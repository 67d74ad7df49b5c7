package text

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"sonde/text/jinja"
)

// Segment is a part of a prompt: a control token that the template placed, or text.
// Text from a message is never read as a control token, whatever it spells. Tags such as
// <think> are control where the vocabulary has them as tokens and text where it has not.
type Segment struct {
	Text    string
	Control bool
}

// ErrTemplate marks a conversation that cannot be rendered because its chat template
// is missing or not known; test with errors.Is.
var ErrTemplate = errors.New("no usable chat template")

const templateHint = "choose one that is built in: --chat-template plain, deepseek-v3, qwen2.5, ..."

// plainTemplate is the template of base models: the messages, joined by line breaks.
// A reply continues the text as one more message.
const plainTemplate = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}" +
	"{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"

// template is a chat template that is built in, as a Go function; a model file's
// template is recognised by the SHA-256 of its text.
type template struct {
	name   string
	sha256 string
	render func(r *rendering)
}

var templates = []*template{
	{"plain", hash(plainTemplate), renderPlain},
	{"sonde-r1", hash(r1Template), renderR1},
	{"deepseek-v3", "3b8267e54b67df6500f231ffa969955cc9d26b3444a291ced4eb96ca7d3ca1ea", renderDeepSeekV3},
	{"deepseek-v3.1", "d9f5f351b276cf9e81d009db08830db7d38e94927aecd09a7beb43e2aafee94e", renderDeepSeekV31},
	{"deepseek-v3.2", "", renderDeepSeekV32}, // published as code: no template's text has this hash
	{"deepseek-r1-distill-llama", "dd2675619a64a449cdcdd2b93e605a0a50764cee41e344f244752bc93643936c", renderR1DistillLlama},
	{"deepseek-r1-distill-qwen", "bbe594884b44d740667ee65a70bc8d333a565eab3d63ea59f291ea73ada84ba6", renderR1DistillQwen},
	{"qwen2.5", "cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f", renderQwen25},
	{"qwen3", "87a2728cb8dc9fe424d624542f6060ec05a1d285ebbec578bb078900e33396b5", renderQwen3},
	{"llama3.1", "e10ca381b1ccc5cf9db52e371f3b6651576caee0a630b452e2816b2d404d4b65", renderLlama31},
	{"smollm2", "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788", renderSmolLM2},
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// TemplateNames lists the chat templates that are built in.
func TemplateNames() []string {
	names := make([]string, len(templates))
	for i, t := range templates {
		names[i] = t.name
	}
	return names
}

// UseTemplate sets the template to one of TemplateNames, whatever the file says.
func (c *TokenizerConfig) UseTemplate(name string) error {
	for _, t := range templates {
		if t.name == name {
			c.template = name
			return nil
		}
	}
	return fmt.Errorf("chat template %q is not known: there are %s", clip(name), strings.Join(TemplateNames(), " and "))
}

// find returns the template to render with: one that is built in, or the file's own.
func (c *TokenizerConfig) find() (*template, error) {
	sum := hash(c.ChatTemplate)
	for _, t := range templates {
		if c.template == t.name || c.template == "" && sum == t.sha256 {
			return t, nil
		}
	}
	if c.ChatTemplate == "" {
		return nil, fmt.Errorf("%w: %s has no chat_template: %s", ErrTemplate, configFile, templateHint)
	}
	parsed, err := jinja.Parse(c.ChatTemplate)
	if err != nil {
		return nil, fmt.Errorf("%w: %w (%d bytes in %s, SHA-256 %s...): %s", ErrTemplate, err, len(c.ChatTemplate), configFile, sum[:12], templateHint)
	}
	return &template{name: ForeignTemplate, render: func(r *rendering) { r.jinja(parsed) }}, nil
}

// ForeignTemplate is the name of a template that is not built in.
const ForeignTemplate = "the model's own"

// Template is the name of the template that conversations are rendered with: one of
// TemplateNames, or ForeignTemplate for another, which is run in a sandbox.
func (c *TokenizerConfig) Template() (string, error) {
	t, err := c.find()
	if err != nil {
		return "", err
	}
	return t.name, nil
}

// RenderOptions say what a template is told beside the messages.
type RenderOptions struct {
	// AddGenerationPrompt adds what asks for the assistant's reply.
	AddGenerationPrompt bool
	// Tools are the functions that may be called, JSON objects in OpenAI's form; nil for
	// none.
	Tools []json.RawMessage
	// Thinking switches thoughts on or off where the template has a switch; nil leaves
	// the template's own default.
	Thinking *bool
	// Kwargs are further variables by the names that templates use, such as
	// "date_string".
	Kwargs map[string]any
}

// RenderChat writes a conversation as the model's chat template does. Joined, the
// segments' texts are what Hugging Face's apply_chat_template gives; encode them with
// [Tokenizer.EncodeSegments]. What the template refuses is an error that names the
// message.
func RenderChat(c *TokenizerConfig, messages []Message, o RenderOptions) ([]Segment, error) {
	t, err := c.find()
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errors.New("a conversation needs at least one message")
	}
	for i, m := range messages {
		switch m.Role {
		case "system", "user", "assistant", "tool":
		default:
			return nil, fmt.Errorf("message %d: role %q: it must be system, user, assistant or tool", i, clip(m.Role))
		}
	}
	r := &rendering{cfg: c, messages: messages, tools: o.Tools, ask: o.AddGenerationPrompt, kwargs: o.variables()}
	t.render(r)
	if r.err != nil {
		return nil, r.err
	}
	return r.out, nil
}

// variables are the kwargs with the switch for thoughts under both of its names.
func (o *RenderOptions) variables() map[string]any {
	all := maps.Clone(o.Kwargs)
	if o.Thinking == nil {
		return all
	}
	if all == nil {
		all = map[string]any{}
	}
	for _, name := range []string{"thinking", "enable_thinking"} {
		if _, set := all[name]; !set {
			all[name] = *o.Thinking
		}
	}
	return all
}

// EncodeSegments turns a prompt into ids: what the template wrote with its control
// tokens, what came from messages as [Tokenizer.Encode] does.
func (t *Tokenizer) EncodeSegments(segments []Segment) ([]int32, error) {
	var out []int32
	run := "" // text that may merge with what follows
	add := func(part string, id int32) {
		if id < 0 {
			run += part
			return
		}
		out = append(t.AppendEncode(out, run), id)
		run = ""
	}
	for _, s := range segments {
		id, whole := t.addedID[s.Text]
		switch {
		case !s.Control:
			run += s.Text
		case whole:
			add("", id)
		case hardToken(s.Text):
			return nil, fmt.Errorf("%w: it uses the control token %q, which %s does not have: %s", ErrTemplate, clip(s.Text), tokenizerFile, templateHint)
		default:
			t.rawTrie.split(s.Text, func(part string, id int32) {
				if id >= 0 {
					add(part, id)
					return
				}
				t.normTrie.split(part, add)
			})
		}
	}
	return t.AppendEncode(out, run), nil
}

// hardToken reports whether a control is one token by its spelling, <|like this|>. Tags
// such as <think> some vocabularies spell in text.
func hardToken(s string) bool {
	_, bar := utf8.DecodeRuneInString(strings.TrimPrefix(s, "<"))
	return strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") && strings.ContainsAny(s[1:1+bar], "|｜") &&
		strings.Count(s, "<") == 1 && !strings.ContainsAny(s, " \n")
}
