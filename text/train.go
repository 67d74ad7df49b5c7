package text

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
)

// TrainOptions says how [TrainBPE] trains.
type TrainOptions struct {
	// VocabSize is the number of ids of the result, control tokens included:
	// at least MinVocab.
	VocabSize int
	// Threads is how many goroutines count pieces; 0 means one a core. The result
	// does not depend on it.
	Threads int
	// SingleDigits makes every digit a piece of its own, as SmolLM and Qwen do, so that a
	// model need not learn by heart what each group of three digits is made of: the
	// choice where arithmetic matters. The pre-tokeniser is SmolLM's then.
	SingleDigits bool
	// Progress, if set, is called now and then: while text is read with the bytes
	// read and total 0, then with the merges found and those wanted.
	Progress func(done, total int64)
	// Warn, if set, is told what is unusual about the result.
	Warn func(message string)
}

// The control tokens of a vocabulary trained here, spelled and placed as DeepSeek does.
const (
	bosToken = "<｜begin▁of▁sentence｜>"
	eosToken = "<｜end▁of▁sentence｜>"
	padToken = "<｜▁pad▁｜>"
	// UserToken begins a user's turn in DeepSeek's templates: where it appears in an answer,
	// the answer is over. AssistantToken begins an answer.
	UserToken      = "<｜User｜>"
	AssistantToken = "<｜Assistant｜>"
	thinkToken     = "<think>"
	endThinkToken  = "</think>"
)

var (
	firstTokens = []string{bosToken, eosToken, padToken}
	lastTokens  = []string{UserToken, AssistantToken, thinkToken, endThinkToken}
)

const (
	// MinVocab is the smallest vocabulary: seven control tokens and 256 bytes.
	MinVocab = 3 + 256 + 4
	// MaxVocab is the largest that TrainBPE makes.
	MaxVocab = 1 << 20

	// minPairs is how often a pair must occur to become a token: once is no habit.
	minPairs = 2
	// maxTrainPiece cuts longer pieces for counting, so that a megabyte of base64 or
	// of one letter costs no more than other text.
	maxTrainPiece = 256
)

// TrainBPE makes a byte-level BPE vocabulary from documents, with DeepSeek-V3's
// pre-tokeniser (see SingleDigits for the other choice): ids 0 to 2 begin, end and pad a text, 256 bytes and the merges
// follow, and the last four ids are <｜User｜>, <｜Assistant｜>, <think> and </think>.
//
// Each round joins the pair of neighbouring tokens that occurs most often; of equals
// the one with the smaller left id, then the smaller right id, wins. A pair whose
// joined bytes are a token already is passed over. So the result depends on the
// documents alone: not on their order, nor on the number of threads. When no pair
// occurs twice any more, placeholders that no text yields fill the vocabulary up to
// its size (see [Tokenizer.Placeholders]), and Warn is told.
//
// docs yields the documents; a slice may be reused once yield returns. A document
// need not be UTF-8.
func TrainBPE(ctx context.Context, docs func(yield func([]byte) bool), o TrainOptions) (*Tokenizer, error) {
	if o.VocabSize < MinVocab || o.VocabSize > MaxVocab {
		return nil, fmt.Errorf("train tokenizer: vocabulary of %d tokens: it must have %d to %d", o.VocabSize, MinVocab, MaxVocab)
	}
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	words, err := countWords(ctx, docs, o)
	if err != nil {
		return nil, err
	}
	if words.len() == 0 {
		return nil, fmt.Errorf("train tokenizer: the documents have no text: check the data's path and its filters")
	}
	tr := newTrainer(words)
	if err := tr.run(ctx, o.VocabSize-MinVocab, o.Progress); err != nil {
		return nil, err
	}
	t, err := tr.tokenizer(o)
	if err == nil && t.placeholders > 0 && o.Warn != nil {
		o.Warn(fmt.Sprintf("the text gives %d merges where a vocabulary of %d has room for %d: %d ids are placeholders; more text or a vocabulary of %d would use all",
			len(tr.merges), o.VocabSize, o.VocabSize-MinVocab, t.placeholders, o.VocabSize-t.placeholders))
	}
	return t, err
}

// tokenizer builds the result the way a file is loaded, so that both are the same.
func (tr *trainer) tokenizer(o TrainOptions) (*Tokenizer, error) {
	f, size := new(tokenizerJSON), o.VocabSize
	f.Normalizer = json.RawMessage(`{"type":"Sequence","normalizers":[]}`)
	f.PreTokenizer = deepseekPreTokenizerJSON()
	if o.SingleDigits {
		f.PreTokenizer = json.RawMessage(`{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},` +
			`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]}`)
	}
	f.PostProcessor = json.RawMessage(`{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":false,"use_regex":true}`)
	f.Decoder = json.RawMessage(`{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}`)
	f.Model.Vocab = make(map[string]int32, size)
	for i, tok := range firstTokens {
		f.Model.Vocab[tok] = int32(i)
		f.AddedTokens = append(f.AddedTokens, AddedToken{ID: int32(i), Content: tok, Special: true})
	}
	spelled := make([]string, len(tr.bytes))
	for id := len(firstTokens); id < len(tr.bytes); id++ {
		spelled[id] = spell(tr.bytes[id])
		f.Model.Vocab[spelled[id]] = int32(id)
	}
	merges := make([][2]string, len(tr.merges))
	for i, m := range tr.merges {
		merges[i] = [2]string{spelled[m[0]], spelled[m[1]]}
	}
	raw, err := json.Marshal(merges)
	if err != nil {
		return nil, err
	}
	f.Model.Merges = raw
	placeholders := size - len(tr.bytes) - len(lastTokens)
	for i := range placeholders {
		f.AddedTokens = append(f.AddedTokens, AddedToken{ID: int32(len(tr.bytes) + i), Content: placeholder(i), Special: true})
	}
	for i, tok := range lastTokens {
		f.AddedTokens = append(f.AddedTokens, AddedToken{ID: int32(size - len(lastTokens) + i), Content: tok, Normalized: true})
	}
	return fromJSON(f)
}

// placeholder is the spelling of the i-th unused token.
func placeholder(i int) string { return fmt.Sprintf("%s%d｜>", placeholderPrefix, i) }

const placeholderPrefix = "<｜place▁holder▁no▁"

// deepseekPreTokenizerJSON writes the pre-tokeniser's part of the file.
func deepseekPreTokenizerJSON() json.RawMessage {
	type split struct {
		Type     string            `json:"type"`
		Pattern  map[string]string `json:"pattern"`
		Behavior string            `json:"behavior"`
		Invert   bool              `json:"invert"`
	}
	var steps []any
	for _, p := range deepseekPatterns {
		steps = append(steps, split{"Split", map[string]string{"Regex": p}, "Isolated", false})
	}
	steps = append(steps, json.RawMessage(`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}`))
	raw, err := json.Marshal(map[string]any{"type": "Sequence", "pretokenizers": steps})
	if err != nil {
		panic(err) // constants only
	}
	return raw
}
