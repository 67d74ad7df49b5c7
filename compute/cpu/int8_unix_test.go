//go:build unix

package cpu

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memoryWithEnd is at least size bytes of memory before end, behind which nothing may
// be read.
func memoryWithEnd(t *testing.T, size int) (end unsafe.Pointer, free func()) {
	t.Helper()
	page := unix.Getpagesize()
	size = (size + page - 1) / page * page
	m, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mprotect(m[size:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return unsafe.Pointer(&m[size]), func() { _ = unix.Munmap(m) }
}
