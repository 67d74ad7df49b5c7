package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"sonde/checkpoint/hub"
)

// listCmd lists pulled models.
type listCmd struct {
	JSON bool `name:"json" help:"Print a JSON list."`
}

// Help is shown with the flags.
func (listCmd) Help() string {
	return `Lists the models in the cache, those too that Hugging Face's own tools put there.

Examples:
  sonde list`
}

// listed is a model as "sonde list --json" prints it.
type listed struct {
	Name   string    `json:"name"`
	Bytes  int64     `json:"bytes"`
	Used   time.Time `json:"fetched"`
	Commit string    `json:"commit"`
	Path   string    `json:"path"`
}

// Run prints the list.
func (c listCmd) Run(s streams) error {
	client, err := hub.New(os.Getenv)
	if err != nil {
		return err
	}
	all, err := client.All()
	if err != nil {
		return err
	}
	out := []listed{}
	for _, m := range all {
		out = append(out, listed{m.Name.String(), m.Bytes, m.Used, m.Commit, m.Path})
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(out)
	}
	if len(out) == 0 {
		fmt.Fprintf(s.err, "no models in %s; fetch one with \"sonde pull ORG/NAME\"\n", client.Cache)
		return nil
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSIZE\tFETCHED\tCOMMIT")
	for _, m := range out {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.8s\n", m.Name, hub.Size(m.Bytes), m.Used.Format("2006-01-02"), m.Commit)
	}
	return t.Flush()
}

// showCmd shows one pulled model.
type showCmd struct {
	Name string `arg:"" help:"The model: ORG/NAME[@REVISION]."`
}

// Help is shown with the flags.
func (showCmd) Help() string {
	return `Shows where a pulled model is and which files there are of it. What is in the files, "sonde inspect" tells.

Examples:
  sonde show deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B`
}

// Run prints the files.
func (c showCmd) Run(s streams) error {
	m, err := find(c.Name)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "name\t%s\ncommit\t%s\nfolder\t%s\nsize\t%s\n\n", m.Name, m.Commit, m.Path, hub.Size(m.Bytes))
	slices.SortFunc(m.Files, func(a, b hub.File) int { return cmp.Compare(a.Name, b.Name) })
	for _, f := range m.Files {
		fmt.Fprintf(t, "%s\t%s\n", f.Name, hub.Size(f.Size))
	}
	return t.Flush()
}

// find is a model in the cache.
func find(name string) (*hub.Snapshot, error) {
	n, err := hub.ParseName(name)
	if err != nil {
		return nil, err
	}
	client, err := hub.New(os.Getenv)
	if err != nil {
		return nil, err
	}
	m, err := client.Find(n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not in %s; \"sonde list\" shows what is, \"sonde pull %s\" fetches it", n, client.Cache, n)
	}
	return m, err
}

// rmCmd removes pulled models.
type rmCmd struct {
	Names []string `arg:"" name:"name" help:"Models: ORG/NAME."`
	Yes   bool     `short:"y" help:"Do not ask."`
}

// Help is shown with the flags.
func (rmCmd) Help() string {
	return `Removes models from the cache, with all their revisions. Folders and files that are not in the cache are never touched.

Examples:
  sonde rm deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B`
}

// Run asks and removes.
func (c rmCmd) Run(ctx context.Context, s streams) error {
	client, err := hub.New(os.Getenv)
	if err != nil {
		return err
	}
	var models []*hub.Snapshot
	for _, name := range c.Names {
		m, err := find(name)
		if err != nil {
			return err
		}
		models = append(models, m)
	}
	for _, m := range models {
		if !c.Yes {
			if ok, err := confirm(s, fmt.Sprintf("Remove %s (%s)?", m.Name.Repo, hub.Size(m.Bytes))); err != nil || !ok {
				return err
			}
		}
		size, err := client.Remove(m.Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(s.err, "removed %s, %s are free\n", m.Name.Repo, hub.Size(size))
	}
	return nil
}

// confirm asks a question that only "y" answers with yes.
func confirm(s streams, question string) (bool, error) {
	if s.in == nil || !term.IsTerminal(int(s.in.Fd())) {
		return false, usageError{errors.New("nobody can answer whether to remove: give --yes"), "rm"}
	}
	a, err := ask(s, question+" [y/N] ")
	if err != nil && err != io.EOF {
		return false, err
	}
	return a == "y" || a == "yes", nil
}
