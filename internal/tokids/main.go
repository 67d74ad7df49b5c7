// Command tokids serves scripts/check_tokenizer.py: it prints what package text makes
// of files, so that another implementation can be compared with it.
//
//	tokids ids TOKENIZER.JSON FILE...   a JSON object {"ids", "text"} a file, text decoded from the ids
//	tokids train VOCAB FILE...          a tokenizer.json trained on the files
//	tokids rewrite TOKENIZER.JSON       the file, loaded and written again
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"sonde/text"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tokids:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("want ids, train or rewrite, and its arguments")
	}
	switch args[0] {
	case "ids":
		return printIDs(args[1], args[2:])
	case "train":
		return train(args[1], args[2:])
	case "rewrite":
		t, err := load(args[1])
		if err != nil {
			return err
		}
		return printJSON(t)
	}
	return fmt.Errorf("%q: want ids, train or rewrite", args[0])
}

func load(path string) (*text.Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return text.LoadTokenizer(data)
}

func printJSON(t *text.Tokenizer) error {
	data, err := t.JSON()
	if err == nil {
		_, err = os.Stdout.Write(data)
	}
	return err
}

func printIDs(tokenizer string, files []string) error {
	t, err := load(tokenizer)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		ids := t.EncodeWithSpecial(string(data))
		if err := out.Encode(map[string]any{"ids": ids, "text": t.Decode(ids)}); err != nil {
			return err
		}
	}
	return nil
}

func train(vocab string, files []string) error {
	size, err := strconv.Atoi(vocab)
	if err != nil {
		return err
	}
	var failed error
	t, err := text.TrainBPE(context.Background(), func(yield func([]byte) bool) {
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				failed = err
				return
			}
			if !yield(data) {
				return
			}
		}
	}, text.TrainOptions{VocabSize: size, Warn: func(m string) { fmt.Fprintln(os.Stderr, m) }})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	return printJSON(t)
}
