//go:build !linux

package task

import (
	"context"
	"fmt"
	"runtime"
)

// runSandboxed refuses: there are no namespaces here to run code in.
func runSandboxed(context.Context, sandboxJob, []byte) ([]byte, error) {
	return nil, fmt.Errorf("%w: running code safely needs Linux, this is %s; verify such tasks on Linux, or in a Linux virtual machine", ErrNoSandbox, runtime.GOOS)
}
