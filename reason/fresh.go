package reason

import (
	"encoding/json"
	"fmt"

	"sonde/checkpoint"
	"sonde/compute"
	"sonde/model"
	"sonde/model/deepseek"
	"sonde/model/llama"
	"sonde/text"
)

// Fresh is a model to be made from nothing. Its weights are drawn from a run's seed.
type Fresh struct {
	// Cfg is the architecture; its vocabulary becomes the tokenizer's.
	Cfg model.Config
	Tok *text.Tokenizer
	// TokCfg is nil for the chat template "sonde-r1".
	TokCfg *text.TokenizerConfig
}

// New makes a model from nothing, its weights drawn from seed.
func New(f Fresh, be compute.Backend, o OpenOptions, seed uint64) (*Model, error) {
	m := &Model{Cfg: f.Cfg, Tok: f.Tok, TokCfg: f.TokCfg, be: be}
	switch cfg := f.Cfg.(type) {
	case *deepseek.Config:
		c := *cfg
		c.VocabSize, c.BOSTokenID, c.EOSTokenID, c.NumNextnPredict = f.Tok.VocabSize(), int(f.Tok.BOS()), int(f.Tok.EOS()), 0
		m.Cfg = &c
	case *llama.Config:
		c := *cfg
		c.VocabSize, c.BOSTokenID, c.EOSTokenIDs = f.Tok.VocabSize(), int(f.Tok.BOS()), []int{int(f.Tok.EOS())}
		m.Cfg = &c
	default:
		return nil, fmt.Errorf("%w: %s", ErrNoLearner, f.Cfg.Architecture())
	}
	if m.TokCfg == nil {
		m.TokCfg = text.NewChatConfig(f.Tok, m.Cfg.Context())
	}
	if err := m.makeFiles(); err != nil {
		return nil, err
	}
	if err := m.allocate(o.Compute); err != nil {
		return nil, err
	}
	m.Net.(model.Drawn).Init(seed)
	return m, nil
}

// makeFiles makes the small files of a model from nothing.
func (m *Model) makeFiles() (err error) {
	if m.files.ConfigJSON, err = m.Cfg.MarshalJSON(); err != nil {
		return fmt.Errorf("the model's config: %w", err)
	}
	if m.files.TokenizerJSON, err = m.Tok.JSON(); err != nil {
		return fmt.Errorf("the tokenizer: %w", err)
	}
	if m.files.TokenizerConfigJSON, err = m.TokCfg.JSON(); err != nil {
		return fmt.Errorf("the tokenizer's config: %w", err)
	}
	m.files.GenerationConfigJSON, err = json.MarshalIndent(map[string]any{
		"bos_token_id": m.Tok.BOS(), "eos_token_id": m.Tok.EOS(), "do_sample": true, "temperature": 0.6, "top_p": 0.95}, "", "  ")
	if err != nil {
		return err
	}
	m.stops = endTokens(&checkpoint.Source{GenerationConfig: m.files.GenerationConfigJSON}, m.Tok, m.Cfg.Vocab())
	return nil
}

// learnToChat gives a base model the chat template "sonde-r1" where its tokenizer has the
// tokens of it; it reports whether it did.
func (m *Model) learnToChat() (bool, error) {
	if name, err := m.TokCfg.Template(); err == nil && name != "plain" {
		return false, nil
	} else if err != nil && m.TokCfg.ChatTemplate != "" {
		return false, err
	}
	for _, token := range []string{text.UserToken, text.AssistantToken} {
		if _, ok := m.Tok.ID(token); !ok {
			if m.TokCfg.ChatTemplate == "" {
				return false, fmt.Errorf("%w: tokenizer_config.json has no chat_template, and the tokenizer has no %s for one of ours: add the template of the model's family", text.ErrTemplate, token)
			}
			return false, nil
		}
	}
	m.TokCfg.ChatTemplate = text.NewChatConfig(m.Tok, m.Cfg.Context()).ChatTemplate
	raw, err := m.TokCfg.JSON()
	if err != nil {
		return false, err
	}
	m.files.TokenizerConfigJSON, m.files.ChatTemplate = raw, nil
	return true, nil
}
