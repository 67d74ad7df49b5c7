// Package text turns text into tokens and back, and conversations into prompts.
//
// A [Tokenizer] is byte-level BPE as Hugging Face's tokenizer.json describes it:
// loaded with [LoadTokenizer] or trained with [TrainBPE], it gives the same ids as
// Hugging Face's tokenizers library. [Tokenizer.Encode] reads everything as plain
// text, so that a user who types "<｜User｜>" has typed text and not a control
// token; [Tokenizer.EncodeWithSpecial] recognises control tokens, for prompts that
// a program wrote itself.
//
// [RenderChat] writes a conversation as a chat template known by name does, and
// keeps apart what the template says and what the messages say.
//
// The package promises stability: exported names and the ids that a given
// tokenizer.json yields do not change within a major version.
package text
