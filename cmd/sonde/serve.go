package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"sonde"
	"sonde/engine"
	"sonde/serve"
)

// serveCmd serves models over HTTP.
type serveCmd struct {
	Models []string `arg:"" optional:"" name:"model" help:"The models: folders, .gguf files, or names on the hub; requests call them by these names. The embedded one where none is named."`
	Addr   string   `help:"Address to listen on; port 0 takes any free one (default: ${default})." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	APIKey string   `name:"api-key" help:"Key that requests must send as \"Authorization: Bearer KEY\"." env:"SONDE_API_KEY" placeholder:"KEY"`
	Slots  int      `help:"Answers written side by side (default: ${default})." default:"4" placeholder:"N"`
	Queue  int      `help:"Requests that may wait; more are told to come back (default: ${default})." default:"64" placeholder:"N"`
	threadFlag
	activationsFlag
	adapterFlag
	templateFlag
}

// Help is shown with the flags.
func (serveCmd) Help() string {
	return `Answers GET /v1/models, POST /v1/chat/completions and POST /v1/completions as OpenAI's API does, streamed or whole, GET /health, and a page to try them at /, with problems of every kind to click, whose answers a verifier judges. SIGTERM and Ctrl-C let the answers under way finish.

Examples:
  sonde serve
  sonde serve runs/go
  sonde serve runs/go --addr 127.0.0.1:0
  curl http://127.0.0.1:8080/v1/completions -d '{"prompt":"func Reverse(","max_tokens":32}'` + embeddedHelp
}

// Run serves until the process is told to stop.
func (c serveCmd) Run(ctx context.Context, s streams) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	if c.Slots < 1 || c.Queue < 0 {
		return usageError{fmt.Errorf("--slots must be at least 1 and --queue at least 0"), "serve"}
	}
	if c.Adapter != "" && len(c.Models) > 1 {
		return usageError{fmt.Errorf("--adapter is of one model: name one model, or the adapters' folders themselves, which are served with the models they name"), "serve"}
	}
	queue := c.Queue
	if queue == 0 {
		queue = -1 // the engine's 0 is its default
	}
	ln, err := serve.Listen(c.Addr) // before the models are loaded, which may take long
	if err != nil {
		return err
	}
	defer ln.Close()
	if len(c.Models) == 0 {
		c.Models = []string{""} // the embedded one
	}
	var models []serve.Model
	names := map[string]string{}
	for _, path := range c.Models {
		m, err := open(ctx, s, path, sonde.Options{Threads: c.Threads, Activations: c.Activations, Adapter: c.Adapter, ChatTemplate: c.ChatTemplate, Limits: engine.Limits{Slots: c.Slots, Queue: queue}})
		if err != nil {
			return err
		}
		defer m.Close()
		if other, ok := names[m.Name()]; ok {
			return fmt.Errorf("%s and %s would both be called %q; rename one of the folders", other, path, m.Name())
		}
		names[m.Name()] = path
		models = append(models, m)
	}
	log := slog.New(slog.NewTextHandler(s.err, nil))
	c.announce(s, ln, models)
	return serve.Run(ctx, ln, serve.New(models, serve.Options{APIKey: c.APIKey, Log: log}), log)
}

// announce says where the server is.
func (c serveCmd) announce(s streams, ln net.Listener, models []serve.Model) {
	addr, _ := ln.Addr().(*net.TCPAddr)
	host := ln.Addr().String()
	if addr != nil && addr.IP.IsUnspecified() {
		host = net.JoinHostPort("localhost", fmt.Sprint(addr.Port))
	}
	for _, m := range models {
		fmt.Fprintf(s.err, "serving %s at http://%s (page) and http://%s/v1 (API)\n", m.Name(), host, host)
	}
	if m, ok := models[0].(*sonde.Model); ok && m.Recipe() != nil {
		fmt.Fprintf(s.err, "%s\nIt is part of the program. Another model: sonde serve FOLDER, FILE.gguf or ORG/NAME (on the hub); Ctrl-C ends.\n", m.About())
	}
	if addr != nil && !addr.IP.IsLoopback() && c.APIKey == "" {
		fmt.Fprintln(s.err, "sonde: warning: other machines can reach this address and no --api-key is set")
	}
}
