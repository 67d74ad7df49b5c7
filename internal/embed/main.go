// Command embed makes a finished run's model the one that is part of the program: it
// writes the newest checkpoint as bfloat16 into the folder embedded/ and says in
// recipe.json how it was made. scripts/embed_model.sh calls it.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"sonde/checkpoint"
	"sonde/model/auto"
	"sonde/text"
)

// maxBytes bounds the embedded files together: the program carries them.
const maxBytes = 8 << 20

// recipe is embedded/recipe.json; the root package's Recipe reads it. It is a type of its
// own since that package does not compile while embedded/ is empty, and this program fills it.
type recipe struct {
	Format     int               `json:"format"`
	Name       string            `json:"name"`
	About      string            `json:"about"`
	Command    string            `json:"command"`
	Seed       uint64            `json:"seed"`
	Commit     string            `json:"commit"`
	Hours      float64           `json:"hours"`
	Machine    string            `json:"machine"`
	Date       string            `json:"date"`
	Parameters int64             `json:"parameters"`
	Active     int64             `json:"active"`
	SHA256     map[string]string `json:"sha256"`
}

func main() {
	r := recipe{Format: 1, SHA256: map[string]string{}}
	to := flag.String("to", "embedded", "the folder to write")
	flag.StringVar(&r.Name, "name", "sonde-r1-nano", "what the model is called")
	flag.StringVar(&r.About, "about", "", "a sentence on what it is and can do")
	flag.StringVar(&r.Command, "command", "", "the command that made it")
	flag.Uint64Var(&r.Seed, "seed", 1, "its seed")
	flag.Float64Var(&r.Hours, "hours", 0, "the hours it took")
	flag.StringVar(&r.Machine, "machine", "2 cores, AVX2", "the machine it was made on")
	flag.StringVar(&r.Date, "date", time.Now().UTC().Format(time.DateOnly), "when it was finished")
	flag.StringVar(&r.Commit, "commit", "", "the commit it was made at (default: the checkout's)")
	flag.Parse()
	if flag.NArg() != 1 || r.About == "" || r.Command == "" {
		fmt.Fprintln(os.Stderr, "usage: embed -about TEXT -command TEXT -seed N -hours X [flags] RUNFOLDER")
		flag.PrintDefaults()
		os.Exit(2)
	}
	if err := run(&r, flag.Arg(0), *to); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

// run writes the folder in full beside the old one before it takes its place.
func run(r *recipe, from, to string) error {
	if r.Commit == "" {
		out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
		if err != nil {
			return fmt.Errorf("asking git for the commit (give -commit otherwise): %w", err)
		}
		r.Commit = strings.TrimSpace(string(out))
	}
	src, err := checkpoint.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := r.check(src); err != nil {
		return err
	}
	src.GenerationConfig, err = greedy(src.GenerationConfig)
	if err != nil {
		return err
	}
	fresh := to + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	if err := src.Convert(context.Background(), fresh, checkpoint.ConvertOptions{DType: checkpoint.BF16}); err != nil {
		return err
	}
	if err := r.write(fresh); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(fresh, to)
}

// check refuses what could not chat, and counts the parameters.
func (r *recipe) check(src *checkpoint.Source) error {
	cfg, _, err := auto.ParseConfig(src.Config)
	if err != nil {
		return err
	}
	r.Parameters, r.Active = cfg.TotalParams(), cfg.ActiveParams()
	if src.Tokenizer == nil || src.TokenizerConfig == nil {
		return fmt.Errorf("%s: there is no tokenizer", src.Path)
	}
	tokCfg, err := text.ParseTokenizerConfig(src.TokenizerConfig)
	if err != nil {
		return err
	}
	if name, err := tokCfg.Template(); err != nil || name == "plain" {
		return fmt.Errorf("%s: its chat template is %q (%v); a model that answers has one of turns", src.Path, name, err)
	}
	return nil
}

// greedy is the generation config with the most probable token always taken: sums have one
// right answer.
func greedy(raw []byte) ([]byte, error) {
	c := map[string]any{}
	if raw != nil {
		if err := json.Unmarshal(raw, &c); err != nil {
			return nil, fmt.Errorf("generation_config.json: %w", err)
		}
	}
	delete(c, "temperature")
	delete(c, "top_p")
	c["do_sample"] = false
	return json.MarshalIndent(c, "", "  ")
}

// write adds recipe.json, with the hashes of what lies in dir.
func (r *recipe) write(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	total := 0
	for _, e := range list {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		if !strings.HasSuffix(e.Name(), ".json") && e.Name() != "model.safetensors" {
			return fmt.Errorf("%s is no file that the program embeds", e.Name())
		}
		sum := sha256.Sum256(raw)
		r.SHA256[e.Name()] = hex.EncodeToString(sum[:])
		total += len(raw)
	}
	if total > maxBytes {
		return fmt.Errorf("the files take %d bytes, at most %d may be embedded: train a smaller model", total, maxBytes)
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d parameters (%d active), %d bytes, weights %.12s...\n", r.Name, r.Parameters, r.Active, total, r.SHA256["model.safetensors"])
	return os.WriteFile(filepath.Join(dir, "recipe.json"), append(raw, '\n'), 0o644)
}
