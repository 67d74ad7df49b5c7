package text

import (
	"fmt"
	"strings"
)

// A scanner cuts text into pieces that BPE never merges across: it returns where the
// piece that begins at s[i] ends (i < end <= len(s)). It looks at s[i:] alone, takes
// time linear in the piece (amortised), and reads any bytes, UTF-8 or not.
type scanner func(t *classTable, s string, i int) int

// A preTokenizer is a scanner and the tokenizer.json that it stands for. The
// patterns are recognised by their exact text: they are a handful of published ones,
// and a scanner of our own for each is some ten times faster than a regular
// expression engine, which Go's, without look-ahead, could not be.
type preTokenizer struct {
	name     string
	patterns []string // the regexes of the Split steps, all "Isolated", in order
	next     scanner
}

// preTokenizers lists those that are built. To add one: its patterns here, its
// scanner in a file of its own, its goldens' folder in the tests.
var preTokenizers = []*preTokenizer{
	{name: "deepseek-v3", patterns: deepseekPatterns, next: scanDeepSeek},
	{name: "deepseek-llm", patterns: deepseekLLMPatterns, next: scanDeepSeekLLM},
	{name: "deepseek-coder", patterns: deepseekCoderPatterns, next: scanDeepSeekCoder},
	{name: "llama-3", patterns: []string{tiktokenPattern(`\p{N}{1,3}`)}, next: scanLlama3},
	{name: "qwen2", patterns: []string{tiktokenPattern(`\p{N}`)}, next: scanQwen2},
	{name: "gpt-2", patterns: []string{byteLevelRegex}, next: scanGPT2},
	{name: "smollm", patterns: []string{eachDigit, byteLevelRegex}, next: scanSmolLM},
}

// findPreTokenizer returns the one whose patterns are these.
func findPreTokenizer(patterns []string) (*preTokenizer, error) {
	key := strings.Join(patterns, "\x00")
	names := make([]string, 0, len(preTokenizers))
	for _, p := range preTokenizers {
		if strings.Join(p.patterns, "\x00") == key {
			return p, nil
		}
		names = append(names, p.name)
	}
	return nil, unsupported("pre_tokenizer", fmt.Sprintf("the patterns %s are not known", quoteAll(patterns)),
		"built in are those of "+strings.Join(names, ", "))
}

// quoteAll writes patterns for an error, each cut to a length that fits one.
func quoteAll(patterns []string) string {
	const most = 80
	out := make([]string, 0, len(patterns))
	for i, p := range patterns {
		if i == 4 {
			out = append(out, fmt.Sprintf("and %d more", len(patterns)-i))
			break
		}
		if len(p) > most {
			p = strings.ToValidUTF8(p[:most], "") + "..."
		}
		out = append(out, fmt.Sprintf("%q", p))
	}
	return strings.Join(out, ", ")
}
