package nn

import "sonde/compute"

// Param is one weight under the name it has in a file of weights.
type Param struct {
	Name string
	// T is the weight in its device's memory, two-dimensional; a vector is [1, N].
	T compute.Tensor
	// Shape is the shape in the file: one dimension for norms and biases, two for
	// matrices.
	Shape []int
	// Decay says whether weight decay applies.
	Decay bool
}
