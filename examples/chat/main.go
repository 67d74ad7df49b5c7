// Command chat talks to a model in the terminal: to the one that is part of Sonde, or to
// any other in a folder or file.
//
//	go run ./examples/chat
//	go run ./examples/chat -model runs/sums-rl
//	echo "Add up 771, 620, 786." | go run ./examples/chat
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"

	"sonde"
	"sonde/text"
)

func main() {
	path := flag.String("model", "", "folder, .gguf file or name on the hub (default: the embedded model)")
	most := flag.Int("tokens", 400, "longest answer in tokens")
	flag.Parse()
	m, err := sonde.Open(*path, sonde.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	fmt.Fprintln(os.Stderr, m.Name(), m.About())

	options := sonde.GenerateOptions{MaxTokens: *most} // greedy; Temperature makes it draw
	var talk []sonde.Message
	lines := bufio.NewScanner(os.Stdin)
	for fmt.Fprint(os.Stderr, "> "); lines.Scan(); fmt.Fprint(os.Stderr, "> ") {
		talk = append(talk, sonde.Message{Role: "user", Content: lines.Text()})
		answer, err := say(m, talk, options)
		if err != nil {
			log.Fatal(err)
		}
		talk = append(talk, sonde.Message{Role: "assistant", Content: answer})
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}

// say prints what the model thinks and answers, as it comes, and returns the answer.
func say(m *sonde.Model, talk []sonde.Message, o sonde.GenerateOptions) (answer string, err error) {
	thinking := false
	for event, err := range m.Converse(context.Background(), talk, sonde.ChatOptions{}, o) {
		if err != nil {
			return answer, err
		}
		if thought := event.Kind == text.EventReasoning; thought != thinking {
			thinking = thought
			fmt.Println(map[bool]string{true: "(thinking)", false: "\n(answering)"}[thought])
		}
		fmt.Print(event.Text)
		if event.Kind == text.EventContent {
			answer += event.Text
		}
	}
	fmt.Println()
	return answer, nil
}
