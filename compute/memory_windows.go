package compute

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// Map gets zeroed memory from the system, aligned to a page at least.
func (HostMemory) Map(bytes int) (unsafe.Pointer, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(bytes), windows.MEM_RESERVE|windows.MEM_COMMIT, windows.PAGE_READWRITE)
	if err != nil {
		return nil, err
	}
	// The system's address, not Go's: reinterpreted through memory, since the
	// collector never moves or owns it.
	return *(*unsafe.Pointer)(unsafe.Pointer(&addr)), nil
}

// Unmap gives back what Map returned.
func (HostMemory) Unmap(p unsafe.Pointer, _ int) {
	if err := windows.VirtualFree(uintptr(p), 0, windows.MEM_RELEASE); err != nil {
		panic("compute: VirtualFree of memory that Map did not return: " + err.Error())
	}
}
