package checkpoint

import "golang.org/x/sys/unix"

// MachineMemory is the machine's main memory in bytes, 0 where that is not known.
func MachineMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
