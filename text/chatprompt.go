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

// Parser takes the answer apart.
func (p *ChatPrompt) Parser() *OutputParser { return NewOutputParser(p.Config, p.Thought, p.Tools) }
