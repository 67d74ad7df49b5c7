package compute

// AddressSpace is an Allocator of addresses alone: a model built in an arena over it
// has tensors of the right shapes and no memory behind them, until a loader puts
// weights in their places. Touching one faults.
type AddressSpace struct{}

var _ Allocator = AddressSpace{}
