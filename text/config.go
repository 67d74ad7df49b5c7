package text

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
)

// TokenizerConfig is what tokenizer_config.json says beside tokenizer.json: which
// tokens begin and end a text, and how a conversation becomes a prompt. Keys that it
// does not name are passed over when a file is read.
type TokenizerConfig struct {
	BOS, EOS, Pad  string // spellings of control tokens, "" for none
	AddBOS, AddEOS bool   // whether a text to be continued begins (ends) with them
	ChatTemplate   string // in Jinja, "" for none
	MaxLength      int    // the longest sequence in tokens, 0 if the file sets no bound
	Class          string // the class in Hugging Face's transformers

	template string // the name given to UseTemplate
}

// FromFiles makes a tokenizer of tokenizer.json and tokenizer_config.json. Without the
// latter, nil, the model is taken for a base model whose texts begin as the tokenizer says
// and have up to context tokens.
func FromFiles(tokenizerJSON, configJSON []byte, context int) (*Tokenizer, *TokenizerConfig, error) {
	t, err := LoadTokenizer(tokenizerJSON)
	if err != nil {
		return nil, nil, err
	}
	if configJSON == nil {
		return t, NewTokenizerConfig(t, context), nil
	}
	c, err := ParseTokenizerConfig(configJSON)
	if err != nil {
		return nil, nil, err
	}
	return t, c, t.UseConfig(c)
}

// configJSON is the file's form.
type configJSON struct {
	AddBOS       bool            `json:"add_bos_token"`
	AddEOS       bool            `json:"add_eos_token"`
	BOS          tokenName       `json:"bos_token"`
	ChatTemplate json.RawMessage `json:"chat_template,omitempty"`
	CleanUp      bool            `json:"clean_up_tokenization_spaces"`
	EOS          tokenName       `json:"eos_token"`
	MaxLength    *float64        `json:"model_max_length,omitempty"`
	Pad          tokenName       `json:"pad_token"`
	Class        string          `json:"tokenizer_class,omitempty"`
}

// tokenName is a token in the file: a string, an object with its content, or null.
type tokenName string

// UnmarshalJSON reads any of the three forms.
func (n *tokenName) UnmarshalJSON(data []byte) error {
	var s *string
	if json.Unmarshal(data, &s) == nil {
		if s != nil {
			*n = tokenName(*s)
		}
		return nil
	}
	var o struct{ Content string }
	if err := json.Unmarshal(data, &o); err != nil {
		return err
	}
	*n = tokenName(o.Content)
	return nil
}

// MarshalJSON writes a string or null.
func (n tokenName) MarshalJSON() ([]byte, error) {
	if n == "" {
		return []byte("null"), nil
	}
	return marshal(string(n))
}

// marshal is json.Marshal without HTML's escapes.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// ParseTokenizerConfig reads a tokenizer_config.json.
func ParseTokenizerConfig(data []byte) (*TokenizerConfig, error) {
	var f configJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, &FileError{File: configFile, What: err.Error(), Hint: "the file is damaged: copy it again from where the model came from"}
	}
	template, err := templateOf(f.ChatTemplate)
	if err != nil {
		return nil, err
	}
	c := &TokenizerConfig{BOS: string(f.BOS), EOS: string(f.EOS), Pad: string(f.Pad),
		AddBOS: f.AddBOS, AddEOS: f.AddEOS, ChatTemplate: template, Class: f.Class}
	if f.MaxLength != nil && *f.MaxLength >= 1 && *f.MaxLength <= math.MaxInt32 {
		c.MaxLength = int(*f.MaxLength) // beyond stands for "no bound", often as 1e30
	}
	return c, nil
}

// templateOf reads chat_template: a string, or a list of named ones with a "default".
func templateOf(raw json.RawMessage) (string, error) {
	if isNull(raw) {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, nil
	}
	var list []struct{ Name, Template string }
	if json.Unmarshal(raw, &list) == nil {
		for _, l := range list {
			if l.Name == "default" {
				return l.Template, nil
			}
		}
	}
	return "", &FileError{File: configFile, Part: "chat_template", What: "neither a template nor a list with one named \"default\"",
		Hint: templateHint}
}

// NewTokenizerConfig is the file for a model trained here with t: a base model, whose
// texts begin with BOS and whose chat template is "plain". maxLength is the longest
// sequence in tokens.
func NewTokenizerConfig(t *Tokenizer, maxLength int) *TokenizerConfig {
	return &TokenizerConfig{
		BOS: t.Token(t.bos), EOS: t.Token(t.eos), Pad: padToken, AddBOS: true,
		ChatTemplate: plainTemplate, MaxLength: maxLength, Class: "PreTrainedTokenizerFast",
	}
}

// JSON is the file's content.
func (c *TokenizerConfig) JSON() ([]byte, error) {
	f := configJSON{AddBOS: c.AddBOS, AddEOS: c.AddEOS, BOS: tokenName(c.BOS), EOS: tokenName(c.EOS), Pad: tokenName(c.Pad), Class: c.Class}
	if c.MaxLength > 0 {
		n := float64(c.MaxLength)
		f.MaxLength = &n
	}
	if c.ChatTemplate != "" {
		raw, err := marshal(c.ChatTemplate)
		if err != nil {
			return nil, err
		}
		f.ChatTemplate = raw
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(f)
	return b.Bytes(), err
}

// UseConfig takes the tokens that begin and end a text from the file.
func (t *Tokenizer) UseConfig(c *TokenizerConfig) error {
	bos, err := t.named("bos_token", c.BOS)
	if err != nil {
		return err
	}
	eos, err := t.named("eos_token", c.EOS)
	if err != nil {
		return err
	}
	t.bos, t.eos = bos, eos
	return nil
}

// named is the id of a token of the file, -1 for "".
func (t *Tokenizer) named(key, token string) (int32, error) {
	if token == "" {
		return -1, nil
	}
	if id, ok := t.ID(token); ok {
		return id, nil
	}
	return 0, &FileError{File: configFile, Part: key, What: fmt.Sprintf("%q is not in %s", clip(token), tokenizerFile),
		Hint: "the two files belong to different models"}
}
