//go:build unix

package compute

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Map gets zeroed memory from the system, aligned to a page at least.
func (HostMemory) Map(bytes int) (unsafe.Pointer, error) {
	p, err := unix.MmapPtr(-1, 0, nil, uintptr(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	adviseHuge(p, bytes)
	return p, nil
}

// Unmap gives back what Map returned.
func (HostMemory) Unmap(p unsafe.Pointer, bytes int) {
	if err := unix.MunmapPtr(p, uintptr(bytes)); err != nil {
		panic("compute: munmap of memory that Map did not return: " + err.Error())
	}
}
