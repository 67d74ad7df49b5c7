package text

// ChatPrompt is a conversation made ready for a model, with what is needed to read the
// answer.
type ChatPrompt struct {
	IDs     []int32
	Stops   []int32 // tokens beside the end-of-text one that end the answer
	Config  *TokenizerConfig
	Thought Thought // how the answer begins
	Tools   bool    // functions were offered
}

// ChatPrompt renders a conversation with c's template up to where the assistant's answer
// begins.
func (t *Tokenizer) ChatPrompt(c *TokenizerConfig, messages []Message, o RenderOptions) (*ChatPrompt, error) {
	o.AddGenerationPrompt = true
	segments, err := RenderChat(c, messages, o)
	if err != nil {
		return nil, err
	}
	p := &ChatPrompt{Config: c, Thought: ThoughtAfter(segments), Tools: len(o.Tools) > 0}
	if id, ok := t.ID(UserToken); ok {
		p.Stops = append(p.Stops, id)
	}
	p.IDs, err = t.EncodeSegments(segments)
	return p, err
}

// Parser takes the answer apart.
func (p *ChatPrompt) Parser() *OutputParser { return NewOutputParser(p.Config, p.Thought, p.Tools) }
