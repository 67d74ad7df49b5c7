package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// drainTime is how long answers under way may take to finish after a shutdown began.
const drainTime = 30 * time.Second

// Listen opens addr, "host:port", where port 0 takes any free one. Its errors say
// what else to try.
func Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("the address %q is not HOST:PORT, such as 127.0.0.1:8080: %w", addr, err)
	}
	ln, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return ln, nil
	case inUse(err):
		return nil, fmt.Errorf("port %s on %s is in use by another program; stop that one, name another port, or let the system choose: --addr %s", port, orAny(host), net.JoinHostPort(host, "0"))
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("port %s needs privileges this process does not have; use one above 1023, such as --addr %s", port, net.JoinHostPort(host, "8080"))
	}
	return nil, fmt.Errorf("cannot listen on %q: %w; an address of this machine is needed, such as --addr 127.0.0.1:8080", addr, err)
}

func orAny(host string) string {
	if host == "" {
		return "every address"
	}
	return host
}

// Run serves h on ln until ctx is done, then takes no new connections, lets answers
// under way finish for at most half a minute, and cuts the rest.
func Run(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("shutting down: finishing the answers under way")
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	err := srv.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("cutting answers that did not finish in time", "seconds", drainTime.Seconds())
		cut()
		err = srv.Close()
	}
	return err
}
