package text

import (
	"encoding/json"
	"fmt"
)

// step is one normaliser, pre-tokeniser, post-processor or decoder of the file; a
// Sequence lists its steps under one of two names.
type step struct {
	Type           string            `json:"type"`
	Normalizers    []json.RawMessage `json:"normalizers"`
	Pretokenizers  []json.RawMessage `json:"pretokenizers"`
	Pattern        struct{ Regex, String *string }
	Behavior       string `json:"behavior"`
	Invert         bool   `json:"invert"`
	AddPrefixSpace bool   `json:"add_prefix_space"`
	UseRegex       *bool  `json:"use_regex"`
	EachDigit      bool   `json:"individual_digits"`
}

// maxSteps bounds how many steps a Sequence may have; published files have up to four.
const maxSteps = 64

// steps flattens a part of the file into the steps of its Sequence. A Sequence within
// a Sequence is refused below, as an unknown step.
func steps(part string, raw json.RawMessage) ([]step, error) {
	if isNull(raw) {
		return nil, nil
	}
	var s step
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, damaged(part, err.Error())
	}
	if s.Type != "Sequence" {
		return []step{s}, nil
	}
	list := append(s.Normalizers, s.Pretokenizers...)
	if len(list) > maxSteps {
		return nil, unsupported(part, fmt.Sprintf("a sequence of %d steps", len(list)), "published tokenizers have fewer than ten")
	}
	out := make([]step, len(list))
	for i, raw := range list {
		if err := json.Unmarshal(raw, &out[i]); err != nil {
			return nil, damaged(fmt.Sprintf("%s[%d]", part, i), err.Error())
		}
	}
	return out, nil
}

// setPipeline chooses the normaliser and the pre-tokeniser that the file asks for and
// checks that its decoder is the byte-level one.
func (t *Tokenizer) setPipeline(f *tokenizerJSON) error {
	if err := t.setNormalizer(f.Normalizer); err != nil {
		return err
	}
	if err := t.setPreTokenizer(f.PreTokenizer); err != nil {
		return err
	}
	dec, err := steps("decoder", f.Decoder)
	if err != nil {
		return err
	}
	if len(dec) != 1 || dec[0].Type != "ByteLevel" {
		return unsupported("decoder", "it is not ByteLevel", "only byte-level BPE is built")
	}
	return nil
}

func (t *Tokenizer) setNormalizer(raw json.RawMessage) error {
	list, err := steps("normalizer", raw)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.Type != "NFC" {
			return unsupported("normalizer", fmt.Sprintf("%q", clip(s.Type)), "built in are NFC and none")
		}
		t.normalize = nfc
	}
	return nil
}

// setPreTokenizer wants Split steps and then ByteLevel.
func (t *Tokenizer) setPreTokenizer(raw json.RawMessage) error {
	list, err := steps("pre_tokenizer", raw)
	if err != nil {
		return err
	}
	n := len(list) - 1
	if n < 0 || list[n].Type != "ByteLevel" {
		return unsupported("pre_tokenizer", "it does not end with ByteLevel", "only byte-level BPE is built")
	}
	if list[n].AddPrefixSpace {
		return unsupported("pre_tokenizer", "add_prefix_space is true", "the text's own spaces are all that is built")
	}
	var patterns []string
	for i, s := range list[:n] {
		if s.Type == "Digits" && s.EachDigit {
			patterns = append(patterns, eachDigit)
			continue
		}
		if s.Type != "Split" || s.Behavior != "Isolated" || s.Invert || s.Pattern.Regex == nil {
			return unsupported(fmt.Sprintf("pre_tokenizer[%d]", i), fmt.Sprintf("%q with behavior %q", clip(s.Type), clip(s.Behavior)),
				"built in are isolating Splits by a regex, and Digits one by one")
		}
		patterns = append(patterns, *s.Pattern.Regex)
	}
	if list[n].UseRegex == nil || *list[n].UseRegex {
		patterns = append(patterns, byteLevelRegex)
	}
	t.pre, err = findPreTokenizer(patterns)
	return err
}
