package nn

import "sonde/compute"

// Slot is a place for one named weight that a loader fills: with a tensor over a file's
// memory in the file's own format, or by writing into the tensor that is there.
type Slot struct {
	Param
	// Field is the layer's field: setting it replaces the weight. Of experts that lie
	// one after another in one field it is the whole field, and Param.T the expert's
	// rows.
	Field *compute.Tensor
	// Expert is which of Experts this is; Experts is 1 for other weights. Parts, where
	// not nil, takes the experts' tensors one by one instead of Field.
	Expert, Experts int
	Parts           *[]compute.Tensor
	// Plain marks weights that must be F32 or BF16 in memory: vectors, the router, what
	// MLA absorbs. FP32 marks those that must be F32.
	Plain, FP32 bool
}
