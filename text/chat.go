package text

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"` // "system", "user" or "assistant"
	Content string `json:"content"`
}

// Segment is a part of a prompt: a control token that the template placed, or text.
// Text from a message is never read as a control token, whatever it spells.
type Segment struct {
	Text    string
	Control bool
}

// ErrTemplate marks a conversation that cannot be rendered because its chat template
// is missing or not known; test with errors.Is.
var ErrTemplate = errors.New("no usable chat template")

const templateHint = "render with another one: --chat-template plain, or deepseek-v3"

// plainTemplate is the template of base models: the messages, joined by line breaks.
// A reply continues the text as one more message.
const plainTemplate = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}" +
	"{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}{% endfor %}"

// template is a chat template that is built in, as a Go function; a model file's
// template is recognised by the SHA-256 of its text.
type template struct {
	name   string
	sha256 string
	render func(c *TokenizerConfig, p *prompt, messages []Message, addGenerationPrompt bool)
}

var templates = []*template{
	{"plain", hash(plainTemplate), renderPlain},
	{"deepseek-v3", "3b8267e54b67df6500f231ffa969955cc9d26b3444a291ced4eb96ca7d3ca1ea", renderDeepSeekV3},
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

// find returns the template to render with.
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
	return nil, fmt.Errorf("%w: the chat_template of %s (%d bytes, SHA-256 %s..., beginning %q) is none of %s: %s", ErrTemplate,
		configFile, len(c.ChatTemplate), sum[:12], clip(c.ChatTemplate), strings.Join(TemplateNames(), ", "), templateHint)
}

// RenderChat writes a conversation as the model's chat template does, and with
// addGenerationPrompt what asks for the assistant's reply. Joined, the segments' texts
// are what Hugging Face's apply_chat_template gives; encode them with
// [Tokenizer.EncodeSegments].
func RenderChat(c *TokenizerConfig, messages []Message, addGenerationPrompt bool) ([]Segment, error) {
	t, err := c.find()
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errors.New("a conversation needs at least one message")
	}
	for i, m := range messages {
		switch m.Role {
		case "system", "user", "assistant":
		default:
			return nil, fmt.Errorf("message %d: role %q: it must be system, user or assistant", i, clip(m.Role))
		}
	}
	var p prompt
	t.render(c, &p, messages, addGenerationPrompt)
	return p, nil
}

// prompt is the segments of a rendering in progress.
type prompt []Segment

// control places a control token.
func (p *prompt) control(token string) {
	if token != "" {
		*p = append(*p, Segment{token, true})
	}
}

// text adds text to the segment before it if that is text, too: a tokenizer may merge
// across the two.
func (p *prompt) text(s string) {
	if s == "" {
		return
	}
	if n := len(*p); n > 0 && !(*p)[n-1].Control {
		(*p)[n-1].Text += s
		return
	}
	*p = append(*p, Segment{s, false})
}

func renderPlain(c *TokenizerConfig, p *prompt, messages []Message, addGenerationPrompt bool) {
	p.control(c.BOS)
	for i, m := range messages {
		p.text(m.Content)
		if i+1 < len(messages) || addGenerationPrompt {
			p.text("\n")
		}
	}
}

// renderDeepSeekV3 puts the system messages first, then the turns; a reply ends with
// the end-of-sentence token.
func renderDeepSeekV3(c *TokenizerConfig, p *prompt, messages []Message, addGenerationPrompt bool) {
	p.control(c.BOS)
	systems := 0
	for _, m := range messages {
		if m.Role == "system" {
			if systems > 0 {
				p.text("\n\n")
			}
			p.text(m.Content)
			systems++
		}
	}
	for _, m := range messages {
		switch m.Role {
		case "user":
			p.control(userToken)
			p.text(m.Content)
		case "assistant":
			p.control(assistantToken)
			p.text(m.Content)
			p.control(eosToken)
		}
	}
	if addGenerationPrompt {
		p.control(assistantToken)
	}
}

// EncodeSegments turns a prompt into ids: control tokens into theirs, text as
// [Tokenizer.Encode] does.
func (t *Tokenizer) EncodeSegments(segments []Segment) ([]int32, error) {
	var out []int32
	for _, s := range segments {
		if !s.Control {
			out = t.AppendEncode(out, s.Text)
			continue
		}
		id, ok := t.addedID[s.Text]
		if !ok {
			return nil, fmt.Errorf("%w: it uses the control token %q, which %s does not have: %s", ErrTemplate, clip(s.Text), tokenizerFile, templateHint)
		}
		out = append(out, id)
	}
	return out, nil
}
