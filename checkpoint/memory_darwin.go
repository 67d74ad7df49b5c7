package checkpoint

import "golang.org/x/sys/unix"

// MachineMemory is the machine's main memory in bytes, 0 where that is not known.
func MachineMemory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}
