//go:build !linux

package task

import (
	"context"
	"fmt"
	"io"
	"runtime"
)

// runSandboxed refuses: there are no namespaces here to run code in.
func runSandboxed(ctx context.Context, job sandboxJob, _ []byte) ([]byte, error) {
	return nil, inSandbox(ctx, job, nil, nil)
}

// inSandbox refuses too.
func inSandbox(context.Context, sandboxJob, io.Reader, io.Writer) error {
	return fmt.Errorf("%w: running code safely needs Linux, this is %s; verify such tasks on Linux, or in a Linux virtual machine", ErrNoSandbox, runtime.GOOS)
}

// limitProcess is for a program that will not be run here.
func limitProcess(int, uint64, uint64) error { return ErrNoSandbox }
