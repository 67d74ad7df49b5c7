//go:build !linux && !darwin

package checkpoint

// MachineMemory is the machine's main memory in bytes; 0 says that it is not known.
func MachineMemory() int64 { return 0 }
