//go:build unix && !linux

package compute

import "unsafe"

// adviseHuge does nothing where the system has no such advice.
func adviseHuge(unsafe.Pointer, int) {}
