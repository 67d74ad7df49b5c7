//go:build unix

package serve

import (
	"errors"
	"syscall"
)

// inUse reports whether err says that an address is taken.
func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }
