package task

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"time"
)

// ErrNoSandbox says that code cannot be run safely on this system, so that it is not run
// at all. Test for it with errors.Is.
var ErrNoSandbox = errors.New("task: no sandbox for running code on this system")

// codeLimit is the wall-clock time for one check that runs code, where none is given.
const codeLimit = 20 * time.Second

// Bounds of a program in the sandbox.
const (
	sandboxOutput = 1 << 20  // bytes that it may write to its standard output
	sandboxErrors = 4 << 10  // bytes of its standard error that are kept
	sandboxDisk   = 64 << 20 // bytes of its files, which lie in memory
	sandboxFile   = 16 << 20 // bytes of one file
	sandboxFiles  = 64       // open files
	sandboxTasks  = 64       // processes and threads
)

// sandboxJob is a program to run without network, without other files than those named,
// as a user without rights, within limits.
type sandboxJob struct {
	// Root is an empty folder, over which the program's file system is laid, in its own
	// namespace alone.
	Root string
	// Binds are folders that the program may read, at their own places.
	Binds []string
	// Files are put into its folder, /box.
	Files map[string][]byte
	// Args is the program's path, in the sandbox, and its arguments; Env its environment.
	Args, Env []string
	// Memory is the size of its address space, in bytes; CPU its processor time, in seconds.
	Memory, CPU uint64
	// Become is the user to become, where the caller is root; else 0.
	Become int
}

// sandboxes bounds how many programs run at once: each may take its whole memory.
var sandboxes = make(chan struct{}, min(runtime.NumCPU(), 4))

// capped keeps the first bytes that are written to it and calls full, if there is one,
// when more come.
type capped struct {
	bytes.Buffer
	left int
	full func()
}

// Write keeps what there is room for.
func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	c.Buffer.Write(p[:n])
	if n < len(p) && c.full != nil {
		c.full()
		return n, io.ErrShortWrite
	}
	return len(p), nil
}
