//go:build unix

package compute

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map reserves addresses.
func (AddressSpace) Map(bytes int) (unsafe.Pointer, error) {
	return unix.MmapPtr(-1, 0, nil, uintptr(bytes), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
}

// Unmap gives back what Map returned.
func (AddressSpace) Unmap(p unsafe.Pointer, bytes int) { HostMemory{}.Unmap(p, bytes) }
