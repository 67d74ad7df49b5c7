package compute

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// Map reserves addresses.
func (AddressSpace) Map(bytes int) (unsafe.Pointer, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(bytes), windows.MEM_RESERVE, windows.PAGE_NOACCESS)
	if err != nil {
		return nil, err
	}
	return *(*unsafe.Pointer)(unsafe.Pointer(&addr)), nil // as in HostMemory.Map
}

// Unmap gives back what Map returned.
func (AddressSpace) Unmap(p unsafe.Pointer, bytes int) { HostMemory{}.Unmap(p, bytes) }
