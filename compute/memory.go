package compute

// HostMemory is the Allocator of main memory: anonymous pages straight from the
// system, outside Go's heap, zeroed, huge where the system agrees.
type HostMemory struct{}

var _ Allocator = HostMemory{}
