package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"sonde/compute"
	"sonde/compute/cpu"
	"sonde/serve"
)

// uiFlag gives a verb that makes a run a page to watch it on.
type uiFlag struct {
	UI optionalAddr `name:"ui" help:"Serve a page of the run while it goes on: curves, stages, rollouts. At 127.0.0.1:8081, or any free port where that is taken; --ui=HOST:PORT elsewhere."`
}

// learnFlags are those of every verb that makes a run.
type learnFlags struct {
	threadFlag
	uiFlag
}

// learn gives learner a processor, and serves the page of the run in folder meanwhile
// where that is asked for.
func (f learnFlags) learn(ctx context.Context, s streams, folder string, learner func(be compute.Backend) error) error {
	be, err := cpu.New(cpu.Options{Threads: f.Threads})
	if err != nil {
		return err
	}
	defer be.Close()
	end, err := f.watch(ctx, s, folder)
	if err != nil {
		return err
	}
	defer end()
	return learner(be)
}

// uiAddr is where the page is served when nobody says otherwise.
const uiAddr = "127.0.0.1:8081"

// optionalAddr is an address that may be left out: --ui, --ui=ADDR or --ui ADDR.
type optionalAddr struct {
	set  bool
	addr string // "" where it was left out
}

// Decode takes the address from the command line where there is one.
func (a *optionalAddr) Decode(ctx *kong.DecodeContext) error {
	a.set = true
	token := ctx.Scan.Peek()
	text, _ := token.Value.(string)
	_, _, err := net.SplitHostPort(text)
	if token.Type == kong.FlagValueToken || token.Type == kong.UntypedToken && err == nil {
		ctx.Scan.Pop()
		a.addr = text
	}
	return nil
}

// IsBool makes the value optional.
func (*optionalAddr) IsBool() bool { return true }

// watch serves the page of the run in folder, which need not exist yet, where the flag
// asks for it. end takes the page away.
func (f uiFlag) watch(ctx context.Context, s streams, folder string) (end func(), err error) {
	if !f.UI.set {
		return func() {}, nil
	}
	ln, err := f.UI.listen()
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil)) // the terminal shows the run
	h := serve.NewRuns([]string{folder}, serve.RunsOptions{APIKey: os.Getenv("SONDE_API_KEY"), Log: quiet})
	announce(s, ln, "the run's page")
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve.Run(ctx, ln, h, quiet) // a page that fails must not end the run
	}()
	return func() { cancel(); <-done }, nil
}

// listen opens the address; without one, the usual one or any that is free.
func (a optionalAddr) listen() (net.Listener, error) {
	if a.addr != "" {
		ln, err := serve.Listen(a.addr)
		if err != nil {
			err = errors.New(strings.ReplaceAll(err.Error(), "--addr ", "--ui=")) // the flag's name here
		}
		return ln, err
	}
	if ln, err := serve.Listen(uiAddr); err == nil {
		return ln, nil
	}
	return serve.Listen("127.0.0.1:0")
}

// announce says where a page of runs is, and warns of one that others can see.
func announce(s streams, ln net.Listener, what string) {
	addr, _ := ln.Addr().(*net.TCPAddr)
	host := ln.Addr().String()
	if addr != nil && addr.IP.IsUnspecified() {
		host = net.JoinHostPort("localhost", fmt.Sprint(addr.Port))
	}
	fmt.Fprintf(s.err, "%s is at http://%s\n", what, host)
	if addr != nil && !addr.IP.IsLoopback() && os.Getenv("SONDE_API_KEY") == "" {
		fmt.Fprintln(s.err, "sonde: warning: other machines can reach this address and SONDE_API_KEY sets no key")
	}
}
