package serve

import (
	"errors"

	"golang.org/x/sys/windows"
)

// inUse reports whether err says that an address is taken.
func inUse(err error) bool { return errors.Is(err, windows.WSAEADDRINUSE) }
